//! Finding rollouts and models: as they are live, or as the store remembers them.

use super::answers::kept;
use super::desk::Desk;
use super::sidecar::AdminError;
use crate::control::rollouts::{ModelView, RolloutView};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A rollout: as it stands, or as it was last written.
pub(super) enum Found {
    /// The one that runs, or the last of its model.
    Live(Box<RolloutView>),
    /// An older one, as JSON text.
    Kept(Box<RawValue>),
}

/// What must be known of a rollout that is kept.
#[derive(Deserialize)]
pub(super) struct Kept {
    /// Its identifier.
    pub(super) id: String,
    /// The model.
    pub(super) model: String,
    /// Whether it has ended.
    #[serde(default)]
    pub(super) ended: bool,
}

impl Found {
    /// The rollout as JSON.
    ///
    /// # Errors
    /// Where it cannot be written as JSON.
    pub(super) fn json(&self) -> Result<Box<RawValue>, AdminError> {
        match self {
            Self::Live(view) => {
                serde_json::value::to_raw_value(view).map_err(|e| AdminError::Internal(e.to_string()))
            }
            Self::Kept(text) => Ok(text.clone()),
        }
    }

    /// The rollout with its numbers.
    ///
    /// # Errors
    /// Where another build wrote it and this one cannot read it.
    pub(super) fn view(self) -> Result<RolloutView, AdminError> {
        match self {
            Self::Live(view) => Ok(*view),
            Self::Kept(text) => serde_json::from_str(text.get()).map_err(|e| {
                AdminError::Internal(format!("the rollout was written by another build of Switchback: {e}"))
            }),
        }
    }
}

impl Desk {
    /// The rollout of this id. May block: the store may be asked.
    ///
    /// # Errors
    /// [`AdminError::NotFound`], and what the store says.
    pub(super) fn rollout(&self, id: &str) -> Result<Found, AdminError> {
        if let Some(view) = self.current(id) {
            return Ok(Found::Live(Box::new(view)));
        }
        let text = self.sidecar.rollouts().rollout(id)?;
        let text = text.ok_or_else(|| AdminError::NotFound(format!("there is no rollout {id:?}")))?;
        Ok(Found::Kept(kept(text)))
    }

    /// The rollout of this id, if it runs or is the last of its model. Does not block.
    pub(super) fn current(&self, id: &str) -> Option<RolloutView> {
        let views = self.sidecar.rollouts().views();
        let rollouts = views.values().filter_map(|view| view.rollout.as_ref());
        rollouts.into_iter().find(|rollout| rollout.id == id).cloned()
    }

    /// The model of the rollout of this id. May block: the store may be asked.
    ///
    /// # Errors
    /// As [`Desk::rollout`].
    pub(super) fn model_of(&self, id: &str) -> Result<String, AdminError> {
        match self.rollout(id)? {
            Found::Live(view) => Ok(view.model),
            Found::Kept(text) => serde_json::from_str::<Kept>(text.get())
                .map(|kept| kept.model)
                .map_err(|e| AdminError::Internal(format!("rollout {id} cannot be read: {e}"))),
        }
    }

    /// How the rollouts of a model stand, whether or not it ever had one. Does not block.
    ///
    /// # Errors
    /// [`AdminError::NotFound`] where there is no such model.
    pub(super) fn model(&self, model: &str) -> Result<ModelView, AdminError> {
        if let Some(view) = self.sidecar.rollouts().views().get(model) {
            return Ok(ModelView::clone(view));
        }
        let live = self.sidecar.live();
        let found = live.models.iter().find(|known| known.name.as_str() == model);
        let found = found.ok_or_else(|| AdminError::NotFound(format!("there is no model {model:?}")))?;
        Ok(ModelView {
            model: found.name.to_string(),
            stable: found.stable.to_string(),
            rollout: None,
            latches: Vec::new(),
            differences: Vec::new(),
        })
    }

    /// The latest rollout of a model. Does not block.
    ///
    /// # Errors
    /// [`AdminError::NotFound`] where there is no such model, or it has had none.
    pub(super) fn latest(&self, model: &str) -> Result<RolloutView, AdminError> {
        let none = || AdminError::NotFound(format!("model {model} has had no rollout"));
        self.model(model)?.rollout.ok_or_else(none)
    }
}
