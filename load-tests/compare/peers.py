"""How each proxy of the comparison is configured: tuned alike, one process and one case each.

Every function takes a Case and a Setup, and gives the command line; configuration files go
to the setup's folder. None of them writes an access log; all keep connections to the upstream
open, run one worker, and forward the client's address, as a sidecar would.
"""

import dataclasses
import json
import os


@dataclasses.dataclass(frozen=True)
class Case:
    """What a proxy has to do, and what load it gets."""

    name: str
    role: str           # plain, split, mirror, dead, tls, h2
    connections: int
    request_bytes: int
    response_bytes: int
    what: str


@dataclasses.dataclass(frozen=True)
class Setup:
    """Ports and files of one run."""

    folder: str
    stable: int
    canary: int
    shadow: int
    dead: int
    h2: int
    certificate: str
    key: str
    both: str
    switchback: str

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def shadow_of(self, role):
        return {"mirror": self.shadow, "dead": self.dead}.get(role)


def switchback(case, setup, port, admin):
    """The binary under test."""
    def up(number, protocol="http1"):
        return {"url": f"http://127.0.0.1:{number}", "protocol": protocol, "maxIdle": 1024, "maxConnections": 4096}
    if case.role == "h2":
        versions = [{"name": "v1", "weight": "100%", "upstream": up(setup.h2, "http2")}]
    elif case.role in ("plain", "tls"):
        versions = [{"name": "v1", "weight": "100%", "upstream": up(setup.stable)}]
    else:
        versions = [{"name": "v1", "weight": "90%", "upstream": up(setup.stable)},
                    {"name": "v2", "weight": "10%", "upstream": up(setup.canary)}]
    model = {"name": "model", "versions": versions}
    shadow = setup.shadow_of(case.role)
    if shadow:
        versions.append({"name": "v3", "upstream": up(shadow)})
        # Copies and nothing else, as the others do; comparing answers is work that they have no part in.
        model["mirror"] = [{"to": "v3", "sample": "100%", "compare": False}]
    listener = {"name": "main", "address": f"127.0.0.1:{port}"}
    if case.role == "tls":
        listener["tls"] = {"certificate": setup.certificate, "key": setup.key}
    config = {"workers": 1, "listeners": [listener], "admin": {"address": f"127.0.0.1:{admin}"}, "models": [model]}
    path = setup.write(f"switchback-{case.name}.yaml", json.dumps(config, indent=1))
    return [setup.switchback, "serve", "--config", path]


def nginx(case, setup, port, _admin):
    """nginx: keepalive upstreams, bodies streamed; `mirror` needs the body buffered."""
    keep = "keepalive 1024; keepalive_requests 1000000000; keepalive_timeout 1h;"
    target = {"plain": "stable", "tls": "stable", "h2": "h2"}.get(case.role, "split")
    listen = {"tls": "ssl", "h2": "http2"}.get(case.role, "")
    streamed = "proxy_request_buffering off; proxy_pass http://%s;" % target
    locations = f"location / {{ {streamed} }}"
    if case.role == "h2":
        locations = "location / { grpc_pass grpc://h2; }"
    if setup.shadow_of(case.role):
        locations = (f"location / {{ mirror /shadow; proxy_pass http://{target}; }}"
                     " location = /shadow { internal; proxy_pass http://shadow$request_uri; }")
    tls = f"ssl_certificate {setup.certificate}; ssl_certificate_key {setup.key};" if case.role == "tls" else ""
    home = os.path.join(setup.folder, f"nginx-{case.name}")
    os.makedirs(home, exist_ok=True)
    temporary = "".join(f"{kind}_temp_path {home}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    path = setup.write(f"nginx-{case.name}.conf", f"""
daemon off; worker_processes 1; pid {home}/pid; error_log {home}/error.log crit; worker_rlimit_nofile 20000;
events {{ worker_connections 10000; }}
http {{
  access_log off; server_tokens off; {temporary}
  keepalive_requests 1000000000; keepalive_timeout 1h; client_max_body_size 16m; client_body_buffer_size 2m;
  http2_max_concurrent_streams 1000;
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
  proxy_set_header X-Forwarded-For $remote_addr;
  upstream stable {{ server 127.0.0.1:{setup.stable}; {keep} }}
  upstream split {{ server 127.0.0.1:{setup.stable} weight=9; server 127.0.0.1:{setup.canary} weight=1; {keep} }}
  upstream shadow {{ server 127.0.0.1:{setup.shadow_of(case.role) or setup.shadow}; {keep} }}
  upstream h2 {{ server 127.0.0.1:{setup.h2}; {keep} }}
  server {{ listen 127.0.0.1:{port} {listen} backlog=4096; {tls} {locations} }}
}}
""")
    return ["nginx", "-p", home, "-c", path, "-e", f"{home}/error.log"]


def haproxy(case, setup, port, _admin):
    """haproxy: always reuses connections. It has no mirror of its own."""
    if setup.shadow_of(case.role):
        return None
    bind = {"tls": f"ssl crt {setup.both}", "h2": "proto h2"}.get(case.role, "")
    if case.role == "h2":
        servers = f"server h2 127.0.0.1:{setup.h2} proto h2 pool-purge-delay 1h"
    elif case.role == "split":
        servers = (f"balance roundrobin\n  server stable 127.0.0.1:{setup.stable} weight 90 pool-purge-delay 1h\n"
                   f"  server canary 127.0.0.1:{setup.canary} weight 10 pool-purge-delay 1h")
    else:
        servers = f"server stable 127.0.0.1:{setup.stable} pool-purge-delay 1h"
    path = setup.write(f"haproxy-{case.name}.cfg", f"""
global
  maxconn 4000
  nbthread 1
defaults
  mode http
  timeout client 1h
  timeout server 1h
  timeout connect 5s
  option http-keep-alive
  option http-no-delay
  http-reuse always
frontend front
  bind 127.0.0.1:{port} backlog 4096 {bind}
  option forwardfor
  default_backend back
backend back
  {servers}
""")
    return ["haproxy", "-db", "-q", "-f", path]


def envoy(case, setup, port, _admin, binary="envoy"):
    """Envoy: no request ids, no dynamic router statistics, generous circuit breakers."""
    http2 = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}}}}

    def cluster(name, number, h2=False):
        address = {"socket_address": {"address": "127.0.0.1", "port_value": number}}
        many = {"max_connections": 10000, "max_pending_requests": 100000, "max_requests": 100000}
        return {
            "name": name, "type": "STATIC", "connect_timeout": "5s", "circuit_breakers": {"thresholds": [many]},
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
            **({"typed_extension_protocol_options": http2} if h2 else {}),
        }

    route = {"cluster": "h2" if case.role == "h2" else "stable", "timeout": "0s"}
    shadow = setup.shadow_of(case.role)
    if case.role in ("split", "mirror", "dead"):
        clusters = [{"name": "stable", "weight": 90}, {"name": "canary", "weight": 10}]
        route = {"weighted_clusters": {"clusters": clusters}, "timeout": "0s"}
    if shadow:
        route["request_mirror_policies"] = [{"cluster": "shadow"}]
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front", "codec_type": "HTTP2" if case.role == "h2" else "HTTP1",
        "generate_request_id": False, "stream_idle_timeout": "0s",
        "use_remote_address": True,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            "suppress_envoy_headers": True, "dynamic_stats": False}}],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    if case.role == "tls":
        files = {"certificate_chain": {"filename": setup.certificate}, "private_key": {"filename": setup.key}}
        chain["transport_socket"] = {"name": "tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {"tls_certificates": [files]}}}
    listener = {"name": "front", "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                "filter_chains": [chain]}
    config = {"static_resources": {"listeners": [listener], "clusters": [
        cluster("stable", setup.stable), cluster("canary", setup.canary),
        cluster("shadow", shadow or setup.shadow), cluster("h2", setup.h2, h2=True)]}}
    path = setup.write(f"envoy-{case.name}.json", json.dumps(config, indent=1))
    return [binary, "-c", path, "--concurrency", "1", "--disable-hot-restart", "-l", "error",
            "--log-path", os.path.join(setup.folder, f"envoy-{case.name}.log")]


def h2_upstream(setup):
    """An nginx that answers 256 bytes over h2c to whatever comes: what stands behind the h2 case."""
    home = os.path.join(setup.folder, "upstream-h2")
    os.makedirs(home, exist_ok=True)
    temporary = "".join(f"{kind}_temp_path {home}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    path = setup.write("upstream-h2.conf", f"""
daemon off; worker_processes 1; pid {home}/pid; error_log {home}/error.log crit; worker_rlimit_nofile 20000;
events {{ worker_connections 10000; }}
http {{
  access_log off; server_tokens off; {temporary} keepalive_requests 1000000000; keepalive_timeout 1h;
  http2_max_concurrent_streams 1000; default_type application/grpc;
  server {{ listen 127.0.0.1:{setup.h2} http2 backlog=4096; location / {{ return 200 "{'1' * 256}"; }} }}
}}
""")
    return ["nginx", "-p", home, "-c", path, "-e", f"{home}/error.log"]
