//! Answers that are kept to be checked, within bounds: of one answer, and of all under way at once.

use std::cell::Cell;
use std::rc::Rc;

use bytes::BytesMut;

use crate::load::check::LONGEST;

/// Bytes of answers that all threads together keep at the same time.
pub(super) const ROOM: usize = 256 << 20;

/// What is left of the room that the answers of one thread share.
pub(super) type Room = Rc<Cell<usize>>;

/// The body of one answer so far. What it took is given back when it is dropped.
pub(super) struct Kept {
    room: Room,
    bytes: BytesMut,
    too_long: bool,
}

impl Kept {
    pub(super) fn new(room: Room) -> Self {
        Self { room, bytes: BytesMut::new(), too_long: false }
    }

    /// Keeps a piece more. An answer that grows beyond its limit, or finds no room, is let go whole.
    pub(super) fn push(&mut self, piece: &[u8]) {
        if self.too_long {
            return;
        }
        match self.room.get().checked_sub(piece.len()) {
            Some(left) if self.bytes.len() + piece.len() <= LONGEST => {
                self.room.set(left);
                self.bytes.extend_from_slice(piece);
            }
            _ => {
                self.too_long = true;
                self.give_back();
            }
        }
    }

    /// What was kept; nothing of an answer that was let go.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the answer was let go.
    pub(super) fn is_too_long(&self) -> bool {
        self.too_long
    }

    fn give_back(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.room.set(self.room.get() + bytes.len());
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_share_their_room_and_give_it_back() {
        let room: Room = Rc::new(Cell::new(10));
        let (mut one, mut two) = (Kept::new(room.clone()), Kept::new(room.clone()));
        one.push(b"12345");
        two.push(b"123");
        one.push(b"678");
        // There was no room for all of it, so there is nothing of it.
        assert!(one.is_too_long() && one.bytes().is_empty());
        one.push(b"9");
        two.push(b"4567");
        assert_eq!((two.bytes(), two.is_too_long(), room.get()), (&b"1234567"[..], false, 3));
        drop((one, two));
        assert_eq!(room.get(), 10);
    }

    #[test]
    fn one_answer_has_a_limit_of_its_own() {
        let room: Room = Rc::new(Cell::new(ROOM));
        let mut kept = Kept::new(room.clone());
        kept.push(&vec![b' '; LONGEST]);
        assert!(!kept.is_too_long());
        kept.push(b" ");
        assert!(kept.is_too_long() && room.get() == ROOM);
    }
}
