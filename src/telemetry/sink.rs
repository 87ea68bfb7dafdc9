//! Where lines of the log go: into a buffer that a thread of its own writes to stderr.
//!
//! Why: whoever reads stderr may be slow or stuck, and a thread that serves calls must not wait for it; and one write for
//! many lines costs less than one for each, with the reader woken each time.
//!
//! Invariants: lines keep their order. A warning or an error is written at once, other lines within [`LINGER`]. The buffer
//! is bounded; what finds no room is counted, and told as soon as there is room again.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long a line waits for others.
const LINGER: Duration = Duration::from_millis(20);
/// For so long after a line the thread looks again and again; then it sleeps until there is one, and whoever logs that has to
/// wake it.
const WAKEFUL: Duration = Duration::from_secs(1);
/// Bytes that wait at most: some 2,000 lines of calls.
const WAITING_MAX: usize = 1 << 20;

/// Lines that found no room, since the process started.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Lines of the log that found no room, since the process started.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// The buffer. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Sink(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    buffer: Mutex<Buffer>,
    /// There is something that the thread is to look at now.
    more: Condvar,
    /// All that there was is written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct Buffer {
    waiting: Vec<u8>,
    /// Lines that found no room and were not told of.
    dropped: u64,
    /// True while the thread writes.
    writing: bool,
    /// True while the thread sleeps until it is woken.
    asleep: bool,
    /// Write without waiting for more.
    urgent: bool,
}

impl Sink {
    /// Starts the thread that writes to `out`. It ends with the process.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let sink = Self::default();
        let own = sink.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || own.run(out))?;
        Ok(sink)
    }

    fn buffer(&self) -> MutexGuard<'_, Buffer> {
        self.0.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8], urgent: bool) {
        let mut buffer = self.buffer();
        if buffer.waiting.len() + line.len() > WAITING_MAX {
            buffer.dropped += 1;
            DROPPED.fetch_add(1, Ordering::Relaxed);
            return;
        }
        buffer.waiting.extend_from_slice(line);
        buffer.urgent |= urgent;
        let wake = urgent || buffer.asleep;
        drop(buffer);
        if wake {
            self.0.more.notify_one();
        }
    }

    /// Waits until everything so far is written, `patience` at most.
    pub fn flush(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut buffer = self.buffer();
        while buffer.writing || !buffer.waiting.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            buffer.urgent = true;
            self.0.more.notify_one();
            buffer = self.0.written.wait_timeout(buffer, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What the thread does: writes what there is, and lets some gather before it looks again.
    fn run(&self, mut out: impl Write) {
        let mut lines = Vec::new();
        loop {
            let mut buffer = self.some();
            std::mem::swap(&mut buffer.waiting, &mut lines);
            let dropped = std::mem::take(&mut buffer.dropped);
            (buffer.writing, buffer.urgent) = (true, false);
            drop(buffer);
            // Nobody is left to tell where stderr is closed.
            let _ = out.write_all(&lines).and_then(|()| out.flush());
            lines.clear();
            if dropped > 0 {
                tracing::warn!(
                    lines = dropped,
                    "stderr took nothing for a while: lines of the log were dropped"
                );
            }
            let mut buffer = self.buffer();
            buffer.writing = false;
            self.0.written.notify_all();
            drop(self.0.more.wait_timeout_while(buffer, LINGER, |buffer| !buffer.urgent));
        }
    }

    /// Waits until there is a line.
    fn some(&self) -> MutexGuard<'_, Buffer> {
        let mut buffer = self.buffer();
        let until = Instant::now() + WAKEFUL;
        while buffer.waiting.is_empty() {
            let more = &self.0.more;
            if Instant::now() < until {
                let again = more.wait_timeout_while(buffer, LINGER, |buffer| !buffer.urgent);
                buffer = again.unwrap_or_else(PoisonError::into_inner).0;
            } else {
                buffer.asleep = true;
                let woken = more.wait_while(buffer, |buffer| buffer.waiting.is_empty());
                buffer = woken.unwrap_or_else(PoisonError::into_inner);
                buffer.asleep = false;
            }
        }
        buffer
    }
}

/// One line on its way.
pub struct Entry<'s> {
    sink: &'s Sink,
    urgent: bool,
}

impl Write for Entry<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.sink.push(line, self.urgent);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'s> MakeWriter<'s> for Sink {
    type Writer = Entry<'s>;

    fn make_writer(&'s self) -> Entry<'s> {
        Entry { sink: self, urgent: true }
    }

    fn make_writer_for(&'s self, metadata: &Metadata<'_>) -> Entry<'s> {
        Entry { sink: self, urgent: *metadata.level() <= Level::WARN }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A reader that takes a piece whenever it is let.
    struct Slow {
        letting: mpsc::Receiver<()>,
        taken: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.letting.recv();
            let _ = self.taken.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow() -> (Sink, mpsc::Sender<()>, mpsc::Receiver<Vec<u8>>) {
        let ((lets, letting), (taken, takes)) = (mpsc::channel(), mpsc::channel());
        (Sink::start(Slow { letting, taken }).unwrap(), lets, takes)
    }

    #[test]
    fn a_reader_that_takes_nothing_keeps_nobody_waiting_and_what_was_dropped_is_counted() {
        let (sink, lets, takes) = slow();
        let line = [b'a'; 1023].iter().chain(b"\n").copied().collect::<Vec<u8>>();
        sink.push(&line, true);
        // The thread holds this one and writes it; the buffer has room for 1,024 more.
        while !sink.buffer().writing {
            thread::yield_now();
        }
        let before = dropped();
        for _ in 0..1_034 {
            sink.push(&line, false);
        }
        assert_eq!((dropped() - before, sink.buffer().dropped), (10, 10));
        // Whoever waits for it does not wait for ever.
        sink.flush(Duration::from_millis(1));
        lets.send(()).unwrap();
        lets.send(()).unwrap();
        sink.flush(Duration::from_secs(20));
        let lines: Vec<usize> = takes.try_iter().map(|piece| piece.len() / 1_024).collect();
        assert_eq!((lines, sink.buffer().dropped), (vec![1, 1_024], 0));
    }

    #[test]
    fn lines_gather_until_one_is_urgent_and_keep_their_order() {
        let (sink, lets, takes) = slow();
        lets.send(()).unwrap();
        sink.push(b"first\n", true);
        assert_eq!(takes.recv_timeout(Duration::from_secs(20)).unwrap(), b"first\n");
        for line in ["a\n", "b\n"] {
            sink.push(line.as_bytes(), false);
        }
        sink.push(b"urgent\n", true);
        drop(lets);
        let mut said = Vec::new();
        while !said.ends_with(b"urgent\n") {
            said.extend(takes.recv_timeout(Duration::from_secs(20)).unwrap());
        }
        assert_eq!(said, b"a\nb\nurgent\n");
    }
}
