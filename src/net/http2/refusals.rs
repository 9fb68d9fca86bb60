//! Streams that `h2` refuses without telling us, for more are open than may be. They are seen by what
//! the client is sent for them: RST_STREAM with REFUSED_STREAM (RFC 9113 section 8.7). And how much
//! of answers' content leaves, which `h2` does not tell either.

use h2::Reason;

const DATA: u8 = 0;
const RST_STREAM: u8 = 3;

/// Where in what is sent the bytes stand.
#[derive(Default)]
pub(super) struct Refusals {
    /// Bytes to pass over.
    skip: usize,
    /// The head of a frame and behind it the code of a reset, as far as they have left.
    frame: [u8; 13],
    had: usize,
    /// Content that has left or begun to, and that nobody was told of.
    data: usize,
}

impl Refusals {
    /// Bytes of content that have left, or follow next, since this was last asked.
    pub(super) fn take_data(&mut self) -> usize {
        std::mem::take(&mut self.data)
    }

    /// How many refusals end in these bytes, which are sent behind those before.
    pub(super) fn bytes(&mut self, mut bytes: &[u8]) -> u32 {
        let mut refused = 0;
        while !bytes.is_empty() {
            let passed = self.skip.min(bytes.len());
            self.skip -= passed;
            bytes = bytes.get(passed..).unwrap_or_default();
            let (Some((first, rest)), 0) = (bytes.split_first(), self.skip) else { continue };
            if let Some(place) = self.frame.get_mut(self.had) {
                *place = *first;
            }
            self.had += 1;
            bytes = rest;
            let [a, b, c, kind, _, _, _, _, _, code @ ..] = self.frame;
            let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            match self.had {
                9 if kind == RST_STREAM && length == code.len() => {}
                9 => {
                    (self.skip, self.had) = (length, 0);
                    self.data += if kind == DATA { length } else { 0 };
                }
                13 => {
                    refused += u32::from(u32::from_be_bytes(code) == u32::from(Reason::REFUSED_STREAM));
                    self.had = 0;
                }
                _ => {}
            }
        }
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, content: &[u8]) -> Vec<u8> {
        [&[0, 0, content.len() as u8, kind, 0, 0, 0, 0, 1], content].concat()
    }

    #[test]
    fn refusals_are_found_among_other_frames_however_they_are_cut() {
        let (refused, cancelled) = ([0, 0, 0, 7], [0, 0, 0, 8]);
        let inside = frame(RST_STREAM, &refused);
        let sent = [
            frame(4, &[]),
            frame(RST_STREAM, &refused),
            frame(0, &inside),
            frame(RST_STREAM, &cancelled),
            frame(8, &refused),
            frame(0, &[3]),
            frame(RST_STREAM, &refused),
        ]
        .concat();
        for step in 1..=sent.len() {
            let mut refusals = Refusals::default();
            assert_eq!(sent.chunks(step).map(|part| refusals.bytes(part)).sum::<u32>(), 2, "{step}");
            assert_eq!((refusals.take_data(), refusals.take_data()), (inside.len() + 1, 0), "{step}");
        }
    }
}
