//! `/`: a small page for people that says what can be asked. It loads nothing and runs nothing.

/// What the page may do: nothing but its own style.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page.
pub(super) const PAGE: &str = concat!(
    r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Switchback admin</title>
<style>
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font-family: ui-monospace, monospace; font-size: 0.9rem; }
pre { overflow-x: auto; padding: 0.75rem; border: 1px solid; border-radius: 0.25rem; }
dt { margin-top: 0.75rem; }
dd { margin-left: 1.5rem; }
</style>
</head>
<body>
<main>
<h1>Switchback "#,
    env!("CARGO_PKG_VERSION"),
    r#"</h1>
<h2>To look at</h2>
<dl>
<dt><a href="/api/v1/status"><code>GET /api/v1/status</code></a></dt>
<dd>Models, versions, weights, counts, latencies and mirrors as JSON.</dd>
<dt><a href="/api/v1/rollouts"><code>GET /api/v1/rollouts</code></a></dt>
<dd>Rollouts, latest first: where each stands, the evidence, who gets which traffic. One of them at
<code>/api/v1/rollouts/{id}</code>, as it moves at <code>…/watch</code>, its history at
<code>…/decisions</code>.</dd>
<dt><code>GET /api/v1/models/{model}/pairs?which=worst</code></dt>
<dd>Answers of two versions that differ.</dd>
<dt><a href="/api/v1/openapi.json"><code>GET /api/v1/openapi.json</code></a></dt>
<dd>All that can be asked, described (OpenAPI 3.1).</dd>
<dt><a href="/metrics"><code>GET /metrics</code></a></dt>
<dd>Everything that is measured, for Prometheus.</dd>
<dt><a href="/readyz"><code>GET /readyz</code></a></dt>
<dd>Whether traffic should be sent here (200 or 503), and why not.</dd>
<dt><a href="/healthz"><code>GET /healthz</code></a></dt>
<dd>Whether the process is alive.</dd>
</dl>
<h2>To change</h2>
<dl>
<dt><code>POST /api/v1/rollouts</code></dt>
<dd>Starts a rollout; <code>promote</code>, <code>pause</code>, <code>resume</code>,
<code>abort</code> and <code>retry</code> below it move it by hand. <code>switchback rollout</code>
does the same from a terminal:
<pre tabindex="0"><code>curl http://127.0.0.1:9901/api/v1/rollouts \
  -d '{"model": "fraud", "candidate": "v2"}'
switchback rollout start fraud --to v2 --wait</code></pre></dd>
<dt><code>PUT /api/v1/models/{model}/weights</code></dt>
<dd>Gives every version of a model a new weight, in one step:
<pre tabindex="0"><code>curl -X PUT http://127.0.0.1:9901/api/v1/models/fraud/weights \
  -d '{"weights": {"v1": "90%", "v2": "10%"}}'</code></pre></dd>
<dt><code>POST /api/v1/config/reload</code></dt>
<dd>Reads the configuration again. A bad one is refused whole, and the old one stays.</dd>
</dl>
</main>
</body>
</html>
"#
);
