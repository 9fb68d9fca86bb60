//! Sending a version its request under other names, and putting the answer back.
//!
//! Two versions often live on one server as two models, or as versions 1 and 2 of one. Clients
//! keep calling the one name they know: [`Rewriter`] changes a request on its way to a version
//! (path, host, headers, names in the body), [`Restore`] puts the names in its answer back.
//!
//! Bodies are edited while they stream, by an [`Editor`]: only the value of a name is ever held,
//! and every byte outside of it is passed as it came. [`Edited`] is the body that does so, and
//! costs nothing where there is nothing to edit.
//!
//! What is renamed, and what is put back:
//!
//! | API | request | answer |
//! |---|---|---|
//! | OIP v2 REST | path | `model_name`, `model_version` of inference answers (JSON, SSE, and the JSON head of the binary extension); `name` of metadata, ready and config answers |
//! | V1 | path | `name`; `model_spec.name`, `model_spec.version` of metadata |
//! | OIP gRPC | fields 1 and 2 of each message | the same of `ModelInfer`, `ModelStreamInfer`; the name in `ModelMetadata`, `ModelConfig` |
//! | OpenAI | `model` | `model`, `response.model`, in JSON and in every SSE event |
//!
//! A version in an answer is put back when the client named one; otherwise it stays what the
//! server said. Lists (`versions` of metadata, statistics) and repository calls are never changed.

mod edited;
mod editor;
mod grpc;
mod json;
mod out;
mod restore;
mod rewriter;
mod spec;
mod sse;

pub use edited::Edited;
pub use editor::Editor;
pub use restore::Restore;
pub use rewriter::{Edits, RewriteError, Rewriter};
pub use spec::{PathPrefix, RewriteSpec};

#[cfg(test)]
mod tests;
