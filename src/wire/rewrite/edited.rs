//! A body that is edited while it passes, or passes as it is.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::editor::Editor;
use crate::base::Fault;
use crate::wire::splice::{Passage, Spliced};

pin_project! {
    /// `B` seen through an [`Editor`], or as it is. Trailers pass. Without an editor every call
    /// goes straight to `B`; with one the size is exact where the editor knows its growth.
    #[derive(Debug)]
    pub struct Edited<B> {
        #[pin]
        inner: B,
        editing: Option<Box<Editing>>,
    }
}

#[derive(Debug)]
struct Editing {
    editor: Editor,
    /// Bytes still to come out, where that is known.
    left: Option<u64>,
    trailers: Option<HeaderMap>,
    ended: bool,
}

impl<B: Body<Data = Bytes>> Edited<B> {
    /// `inner` edited by `editor`, if there is one.
    pub fn new(inner: B, editor: Option<Editor>) -> Self {
        // A body that is over before it began has nothing to edit, and must stay over: a gRPC answer of
        // trailers alone is one HEADERS frame, and some clients fail on an empty DATA frame after it.
        let editor = editor.filter(|editor| editor.growth().is_some() || !inner.is_end_stream());
        let editing = editor.map(|editor| {
            let left = inner.size_hint().exact().zip(editor.growth()).map(|(size, growth)| size + growth);
            Box::new(Editing { editor, left, trailers: None, ended: false })
        });
        Self { inner, editing }
    }

    /// The body as it was before any editing. Only of use while nothing of it was read.
    pub fn into_inner(self) -> B {
        self.inner
    }
}

impl<B> Body for Edited<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Fault>,
{
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let mut this = self.project();
        let Some(editing) = this.editing else {
            return this.inner.poll_frame(cx).map_err(Into::into);
        };
        loop {
            if let Some(piece) = editing.editor.pop() {
                let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                editing.left = editing.left.map(|left| left.saturating_sub(length));
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if editing.ended {
                return Poll::Ready(editing.trailers.take().map(|t| Ok(Frame::trailers(t))));
            }
            let frame = match ready!(this.inner.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => {
                    editing.end(None);
                    continue;
                }
            };
            match frame.into_data() {
                Ok(chunk) => {
                    if let Err(fault) = editing.editor.push(chunk) {
                        editing.ended = true;
                        return Poll::Ready(Some(Err(fault)));
                    }
                }
                Err(frame) => editing.end(frame.into_trailers().ok()),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.editing {
            None => self.inner.is_end_stream(),
            Some(editing) => editing.ended && editing.trailers.is_none() && editing.editor.queued() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.editing {
            None => self.inner.size_hint(),
            Some(editing) => editing.left.map(SizeHint::with_exact).unwrap_or_default(),
        }
    }
}

impl<B: Spliced> Spliced for Edited<B> {
    fn poll_splice(
        &mut self,
        passage: &mut Passage<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<usize>, Fault>> {
        match &self.editing {
            None => self.inner.poll_splice(passage, cx),
            Some(_) => Poll::Ready(Ok(None)),
        }
    }
}

impl Editing {
    fn end(&mut self, trailers: Option<HeaderMap>) {
        self.editor.finish();
        self.trailers = trailers;
        self.ended = true;
    }
}
