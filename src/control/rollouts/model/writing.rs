//! What is still to be done about a model, in its order: what follows a write waits for the ledger's
//! word.

use super::super::abort;
use super::super::call::{CallError, Reply};
use super::super::message::Message;
use super::super::tools::{self, Tools};
use super::{Batch, Held, Model, Todo};
use crate::rollout::effect::Effect;
use crate::rollout::machine::Input;
use crate::store::StoreError;

impl Model {
    /// Does what can be done: until something is to be written first.
    pub(super) fn pump(&mut self, tools: &Tools) {
        while self.writing.is_none()
            && let Some(todo) = self.todo.pop_front()
        {
            match todo {
                Todo::Write(Batch { writes, of }) => {
                    of.iter().for_each(|kind| abort::before(kind));
                    self.writing = Some(of);
                    let (messages, name) = (tools.messages.clone(), self.name().clone());
                    // A rollout that cannot be written when it begins does not begin. Nothing of what was
                    // decided before it waits here any more.
                    let keep = !self.todo.iter().any(|todo| matches!(todo, Todo::Answer(_, Some(_))));
                    tools.ledger.write(writes, keep, move |outcome| {
                        let _ = messages.send(Message::Committed(name, outcome));
                    });
                }
                Todo::Effect(Effect::SetLive(live)) => self.apply(&live, tools),
                Todo::Effect(effect @ Effect::RunGate(_)) => {
                    let kind = effect.kind();
                    abort::before(kind);
                    if let Effect::RunGate(run) = effect {
                        self.ask(&run, tools);
                    }
                    abort::after(kind);
                }
                Todo::Effect(_) => {}
                Todo::Tell(telling) => self.tell(*telling, tools),
                Todo::Answer(reply, _) => self.reply(reply, tools),
            }
        }
    }

    /// The ledger has done what it was asked, or cannot.
    pub(in super::super) fn committed(&mut self, outcome: Result<(), StoreError>, tools: &Tools) {
        let kept = self.writing.take().unwrap_or_default();
        kept.iter().for_each(|kind| abort::after(kind));
        self.written = outcome.is_ok();
        if let Err(error) = &outcome {
            self.unwritten(error, tools);
        }
        self.pump(tools);
        while self.is_written_down()
            && let Some(Held { call, digests, reply, config_hash }) = self.held.pop_front()
        {
            self.call(call, digests, reply, &config_hash, tools::now(), tools);
        }
    }

    /// Whether nothing waits for the ledger's word.
    pub(super) fn is_written_down(&self) -> bool {
        self.writing.is_none() && self.todo.is_empty()
    }

    /// What should have been written was not. A rollout that only just begins does not begin, for it
    /// would be forgotten; nor is anything done that was asked of it meanwhile. All else goes on in
    /// memory.
    fn unwritten(&mut self, error: &StoreError, tools: &Tools) {
        let undo = self.todo.iter().position(|todo| matches!(todo, Todo::Answer(_, Some(_))));
        let Some(Todo::Answer(reply, Some(before))) = undo.and_then(|at| self.todo.remove(at)) else {
            return;
        };
        (self.state, self.versions) = (before.state, before.versions);
        (self.weights, self.shared) = (before.weights, before.shared);
        self.gauges.clear();
        self.changed = true;
        let refuse = |reply: &Reply| _ = reply.try_send(Err(CallError::Store(error.to_string())));
        for todo in self.todo.drain(..) {
            if let Todo::Answer(reply, _) = todo {
                refuse(&reply);
            }
        }
        if self.is_under_way() {
            // It was to be superseded, and its table is gone: it goes on as after a restart.
            self.live = 0;
            self.input(Input::Restarted, self.lead.time(tools::now()), tools);
        }
        refuse(&reply);
    }
}
