//! Whether a client takes back windows that it has opened, which it may (RFC 9113 section 6.9.2).
//!
//! `h2` then keeps what was handed over for them, of streams that are over as far as their answers know.

/// The setting that says how much a stream may be sent at first (section 6.5.2).
const INITIAL_WINDOW_SIZE: u16 = 4;

/// The windows that a client gives its streams.
pub(super) struct Windows {
    initial: u32,
    /// A setting, as far as it has come.
    setting: [u8; 6],
    had: usize,
}

impl Windows {
    /// Those of a client that has said nothing yet.
    pub(super) fn new() -> Self {
        Self { initial: 65_535, setting: [0; 6], had: 0 }
    }

    /// Takes note of what has come of the content of a SETTINGS frame, and tells whether that makes the
    /// windows of streams narrower. Frames that end within a setting end the connection.
    pub(super) fn narrow(&mut self, content: &[u8]) -> bool {
        let mut narrower = false;
        for byte in content {
            if let Some(place) = self.setting.get_mut(self.had) {
                *place = *byte;
            }
            self.had += 1;
            if self.had < self.setting.len() {
                continue;
            }
            self.had = 0;
            let [a, b, value @ ..] = self.setting;
            if u16::from_be_bytes([a, b]) == INITIAL_WINDOW_SIZE {
                let value = u32::from_be_bytes(value);
                narrower |= value < self.initial;
                self.initial = value;
            }
        }
        narrower
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_smaller_initial_window_narrows_however_it_is_cut() {
        let setting = |key: u8, value: u32| [&[0, key][..], &value.to_be_bytes()].concat();
        for (settings, expected) in [
            (vec![setting(4, 65_535)], false),
            (vec![setting(4, 65_534)], true),
            (vec![setting(4, 1 << 20), setting(4, 1 << 20)], false),
            (vec![setting(1, 0), setting(3, 4), setting(5, 4)], false),
            (vec![setting(4, 1 << 20), setting(1, 0), setting(4, 65_535), setting(4, 1 << 20)], true),
        ] {
            let content = settings.concat();
            for step in 1..=content.len() {
                let mut windows = Windows::new();
                let narrowed: Vec<_> = content.chunks(step).map(|part| windows.narrow(part)).collect();
                assert_eq!(narrowed.contains(&true), expected, "{settings:?} by {step}");
            }
        }
    }
}
