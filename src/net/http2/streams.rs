//! The streams of a connection: their futures, and which of them is polled.
//!
//! A stream has a place while it lasts. Places are used again, with the wakers that belong to
//! them: a waker kept too long wakes whoever has the place then, which is no harm.
//!
//! The memory of a stream, some kilobytes, belongs to the thread's connections together: it goes
//! from the stream that ends to the one that begins, so an idle connection holds none.

use std::any::Any;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::task::coop::unconstrained;

use super::wake::{Turn, Word};

/// Streams' worth of memory that a thread keeps for those to come.
const SPARE_ROOMS: usize = 64;

thread_local! {
    /// The [`Rooms`] of the streams that this thread serves; there is one kind of them in practice.
    static ROOMS: RefCell<Option<Rc<dyn Any>>> = const { RefCell::new(None) };
}

/// Futures that are polled when they were woken, and dropped when they end.
pub(super) struct Streams<E> {
    turn: Arc<Turn>,
    words: Vec<Arc<Word>>,
    places: Vec<Place<E>>,
    free: Vec<usize>,
    rooms: Rc<Rooms<E>>,
    /// Whose turn it is to be polled first.
    first: usize,
    /// How many have panicked that nobody was told of.
    panicked: u32,
}

struct Place<E> {
    waker: Waker,
    room: Option<Room<E>>,
}

/// Where a stream lives; empty before and after.
type Room<E> = Pin<Box<Option<E>>>;

/// Empty rooms.
struct Rooms<E>(RefCell<Vec<Room<E>>>);

impl<E: 'static> Rooms<E> {
    /// Those of the thread.
    fn shared() -> Rc<Self> {
        ROOMS.with_borrow_mut(|known| {
            if let Some(Ok(rooms)) = known.clone().map(Rc::downcast::<Self>) {
                return rooms;
            }
            let rooms = Rc::new(Self(RefCell::default()));
            *known = Some(Rc::clone(&rooms) as _);
            rooms
        })
    }

    fn with(&self, stream: E) -> Room<E> {
        let spare = self.0.borrow_mut().pop();
        let Some(mut room) = spare else { return Box::pin(Some(stream)) };
        room.set(Some(stream));
        room
    }

    fn take_back(&self, mut room: Room<E>) {
        room.set(None);
        let mut spare = self.0.borrow_mut();
        if spare.len() < SPARE_ROOMS {
            spare.push(room);
        }
    }
}

impl<E: Future<Output = ()> + 'static> Streams<E> {
    /// None yet, in the connection of `turn`.
    pub(super) fn new(turn: Arc<Turn>) -> Self {
        let (words, places, free) = (Vec::new(), Vec::new(), Vec::new());
        Self { turn, words, places, free, rooms: Rooms::shared(), first: 0, panicked: 0 }
    }

    /// Takes one up. It is polled with those that can go on.
    pub(super) fn start(&mut self, stream: E) {
        let index = self.free.pop().unwrap_or(self.places.len());
        let (number, bit) = (index / Word::BITS, index % Word::BITS);
        if number == self.words.len() {
            self.words.push(Word::new(&self.turn));
        }
        let Some(word) = self.words.get(number) else { return };
        word.set(bit);
        let room = Some(self.rooms.with(stream));
        match self.places.get_mut(index) {
            Some(place) => place.room = room,
            None => self.places.push(Place { waker: word.waker(bit), room }),
        }
    }

    /// Polls once each that can go on.
    pub(super) fn poll_woken(&mut self) {
        let bit = u32::try_from(self.first % Word::BITS).unwrap_or(0);
        let begin = (self.first / Word::BITS).checked_rem(self.words.len()).unwrap_or(0);
        let numbered = self.words.iter().enumerate();
        for (number, word) in numbered.clone().skip(begin).chain(numbered.take(begin)) {
            let mut woken = word.take().rotate_right(bit);
            while woken != 0 {
                let place = usize::try_from(woken.trailing_zeros() + bit).unwrap_or(0) % Word::BITS;
                let index = number * Word::BITS + place;
                woken &= woken - 1;
                if let Some(place) = self.places.get_mut(index)
                    && let Poll::Ready(ended) = place.poll()
                {
                    self.panicked = self.panicked.saturating_add(u32::from(ended.is_err()));
                    if let Some(room) = place.room.take() {
                        self.rooms.take_back(room);
                    }
                    self.free.push(index);
                }
            }
        }
    }

    /// Lets all go on, others first than the last time.
    pub(super) fn wake_all(&mut self) {
        self.first = self.first.wrapping_add(Word::BITS / 8);
        for (index, place) in self.places.iter().enumerate() {
            if place.room.is_some()
                && let Some(word) = self.words.get(index / Word::BITS)
            {
                word.set(index % Word::BITS);
            }
        }
    }

    /// How many have panicked since this was last asked.
    pub(super) fn take_panicked(&mut self) -> u32 {
        std::mem::take(&mut self.panicked)
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }

    /// Whether none can go on.
    pub(super) fn are_asleep(&self) -> bool {
        self.words.iter().all(|word| word.is_empty())
    }
}

/// A stream panicked.
struct Panicked;

impl<E: Future<Output = ()>> Place<E> {
    /// Ready when the place has become free.
    fn poll(&mut self) -> Poll<Result<(), Panicked>> {
        let stream = self.room.as_mut().and_then(|room| room.as_mut().as_pin_mut());
        let Some(mut stream) = stream else { return Poll::Pending };
        let mut cx = Context::from_waker(&self.waker);
        // The task's budget is the connection's: a stream can only do as much as flow control lets
        // it, and if it stopped for want of budget it would be polled again at once.
        let mut turn = pin!(unconstrained(poll_fn(|cx| stream.as_mut().poll(cx))));
        let polled = catch_unwind(AssertUnwindSafe(|| turn.as_mut().poll(&mut cx)));
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(_) => {
                // The hook has written where. It takes down its own stream, which is reset.
                tracing::error!("an HTTP/2 stream panicked; this is a bug");
                Poll::Ready(Err(Panicked))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Noted(usize, Rc<RefCell<Vec<(usize, Waker)>>>, usize);

    impl Future for Noted {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            self.1.borrow_mut().push((self.0, cx.waker().clone()));
            assert!(self.2 < 100, "told to panic");
            self.2 = self.2.saturating_sub(1);
            if self.2 == 0 { Poll::Ready(()) } else { Poll::Pending }
        }
    }

    type Polled = Rc<RefCell<Vec<(usize, Waker)>>>;

    fn take(polled: &Polled) -> (Vec<usize>, Vec<Waker>) {
        polled.borrow_mut().drain(..).unzip()
    }

    #[test]
    fn only_those_that_were_woken_are_polled_and_places_are_used_again() {
        let polled = Polled::default();
        let mut streams = Streams::new(Arc::default());
        for number in 0..200 {
            streams.start(Noted(number, polled.clone(), 2));
        }
        streams.poll_woken();
        let (numbers, wakers) = take(&polled);
        assert_eq!(numbers, (0..200).collect::<Vec<_>>());
        assert!(streams.are_asleep());
        wakers[150].wake_by_ref();
        wakers[7].wake_by_ref();
        assert!(!streams.are_asleep());
        streams.poll_woken();
        assert_eq!(take(&polled).0, [7, 150]);
        streams.start(Noted(1000, polled.clone(), 2));
        streams.poll_woken();
        assert_eq!(take(&polled).0, [1000]);
        assert_eq!(streams.places.len(), 200);
        // The waker of the stream that had the place before.
        wakers[150].wake_by_ref();
        streams.poll_woken();
        assert_eq!(take(&polled).0, [1000]);
        wakers[150].wake_by_ref();
        streams.poll_woken();
        assert_eq!(take(&polled).0, [] as [usize; 0]);
    }

    #[test]
    fn when_all_are_woken_none_is_always_the_first() {
        let polled = Polled::default();
        let mut streams = Streams::new(Arc::default());
        for number in 0..130 {
            streams.start(Noted(number, polled.clone(), 99));
        }
        streams.poll_woken();
        assert_eq!(take(&polled).0, (0..130).collect::<Vec<_>>());
        let mut first = Vec::new();
        for _ in 0..24 {
            streams.wake_all();
            streams.poll_woken();
            let mut numbers = take(&polled).0;
            first.push(numbers[0]);
            numbers.sort_unstable();
            assert_eq!(numbers, (0..130).collect::<Vec<_>>());
        }
        assert_eq!(first[..9], [8, 16, 24, 32, 40, 48, 56, 64, 72]);
        assert_eq!((first[15], first[23]), (128, 0));
    }

    #[test]
    fn a_stream_moves_into_the_room_of_one_that_ended_in_another_connection() {
        let rooms = Rooms::<Noted>::shared();
        let polled = Polled::default();
        let (mut first, mut second) = (Streams::new(Arc::default()), Streams::new(Arc::default()));
        first.start(Noted(0, polled.clone(), 1));
        first.poll_woken();
        assert!(rooms.0.borrow().iter().all(|room| room.is_none()) && rooms.0.borrow().len() == 1);
        second.start(Noted(1, polled.clone(), 2));
        assert!(rooms.0.borrow().is_empty());
        for number in 0..2 * SPARE_ROOMS {
            first.start(Noted(number, polled.clone(), 1));
        }
        first.poll_woken();
        assert_eq!(rooms.0.borrow().len(), SPARE_ROOMS);
    }

    #[test]
    fn one_that_panics_goes_alone() {
        let polled = Polled::default();
        let mut streams = Streams::new(Arc::default());
        streams.start(Noted(0, polled.clone(), 100));
        streams.start(Noted(1, polled.clone(), 2));
        streams.poll_woken();
        assert_eq!(streams.free, [0]);
        assert_eq!((streams.take_panicked(), streams.take_panicked()), (1, 0));
        let (_, wakers) = take(&polled);
        wakers[1].wake_by_ref();
        streams.poll_woken();
        assert_eq!(take(&polled).0, [1]);
    }
}
