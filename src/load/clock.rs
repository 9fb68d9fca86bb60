//! Waiting until a moment, to microseconds.
//!
//! The runtime's timers have a resolution of a millisecond, which would be most of the latency of a
//! fast model. Linux' timerfd wakes the same `epoll` with the kernel's resolution. Elsewhere the
//! runtime's timers have to do.

use std::io;
use std::time::Duration;

/// A timer of one thread.
#[derive(Debug)]
pub struct Clock {
    #[cfg(target_os = "linux")]
    fd: tokio::io::unix::AsyncFd<rustix::fd::OwnedFd>,
}

#[cfg(target_os = "linux")]
impl Clock {
    /// A timer of this thread's runtime.
    ///
    /// # Errors
    /// When the system has no file descriptor left.
    #[expect(
        deprecated,
        reason = "its successor is unsafe, for descriptors that change; an owned one does not"
    )]
    pub fn new() -> io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self { fd: tokio::io::unix::AsyncFd::with_interest(fd, tokio::io::Interest::READABLE)? })
    }

    /// Waits for `time`. Cancel-safe: a wait that is dropped leaves nothing behind.
    ///
    /// # Errors
    /// When the system refuses the timer, which it has no reason to.
    pub async fn sleep(&self, time: Duration) -> io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        // A timer of nothing would be switched off.
        let time = time.max(Duration::from_nanos(1));
        let it_value = Timespec::try_from(time).map_err(io::Error::other)?;
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Setting the timer again also forgets that an earlier one was over, so it need not be read.
        timerfd_settime(
            self.fd.get_ref(),
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval, it_value },
        )?;
        self.fd.readable().await?.clear_ready();
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
impl Clock {
    /// A timer of this thread's runtime.
    ///
    /// # Errors
    /// None here.
    pub fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for `time`. Cancel-safe.
    ///
    /// # Errors
    /// None here.
    pub async fn sleep(&self, time: Duration) -> io::Result<()> {
        tokio::time::sleep(time).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn it_never_wakes_early_and_can_be_used_again() {
        let clock = Clock::new().unwrap();
        for micros in [0, 1, 250, 3_000, 50] {
            let (wanted, begin) = (Duration::from_micros(micros), Instant::now());
            clock.sleep(wanted).await.unwrap();
            assert!(begin.elapsed() >= wanted);
        }
    }

    #[tokio::test]
    async fn a_dropped_wait_does_not_end_the_next_one() {
        let clock = Clock::new().unwrap();
        let long = clock.sleep(Duration::from_secs(600));
        assert!(tokio::time::timeout(Duration::from_millis(1), long).await.is_err());
        let begin = Instant::now();
        clock.sleep(Duration::from_millis(5)).await.unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(5));
    }
}
