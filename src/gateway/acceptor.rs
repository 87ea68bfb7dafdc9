//! The acceptor: a thread that takes connections and hands each to the worker with the least to do.
//!
//! Why not actix's own, which deals them out in turn: streams last and other calls do not, so that whatever turn there is,
//! streams gather on some workers (150 of them with a short connection after each were 0 and 150 on two).
//!
//! Invariants: no worker has more connections than `server.max_connections`, and while all have as many none is accepted
//! (one for each further socket may have been): the kernel lets them wait. A connection counts from its acceptance until it is closed, wherever it is dropped.

use std::cell::RefCell;
use std::future::pending;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::rc::Rc;
use std::time::Duration;

use actix_web::rt::time::sleep;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};

use super::StartError;
use crate::actors::cells::CellLoad;
use crate::actors::gauges::InFlightGuard;

/// Connections that wait for accept at most.
const BACKLOG: i32 = 4096;
/// How long to wait when accepting fails, or when no worker has room.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);
const ROOM_AGAIN: Duration = Duration::from_millis(10);

/// A connection on its way to a worker.
pub struct Connection {
    /// What came; it does not block.
    pub stream: TcpStream,
    /// Counts it as the worker's.
    pub open: InFlightGuard,
}

/// A worker as the acceptor knows it.
pub struct Seat {
    /// What it has to do.
    pub load: CellLoad,
    /// Takes its connections, as many as it may have.
    pub connections: mpsc::Sender<Connection>,
}

/// Opens the sockets of an address: a name may have several, and one of them is enough.
///
/// # Errors
/// None can be opened, with the reason of the last.
pub fn bind(listen: &str) -> io::Result<Vec<TcpListener>> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "it is no address");
    let mut listeners = Vec::new();
    for address in listen.to_socket_addrs()? {
        match open(address) {
            Ok(listener) => listeners.push(listener),
            Err(error) => last = error,
        }
    }
    if listeners.is_empty() { Err(last) } else { Ok(listeners) }
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    // After a restart, connections of the last process that linger do not keep the port.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Starts the thread; it ends, and closes the sockets, when `stopped` turns true.
///
/// # Errors
/// The system gives no thread, or does not let it wait for the sockets.
pub fn start(
    listeners: Vec<TcpListener>,
    seats: Vec<Seat>,
    connections_max: usize,
    stopped: watch::Receiver<bool>,
) -> Result<(), StartError> {
    let failed = |error: io::Error| StartError(format!("connections cannot be accepted: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let seats = Seats { seats, connections_max: i64::try_from(connections_max).unwrap_or(i64::MAX), next: 0 };
    let entered = runtime.enter();
    let listeners: io::Result<Vec<_>> =
        listeners.into_iter().map(tokio::net::TcpListener::from_std).collect();
    let listeners = listeners.map_err(failed)?;
    drop(entered);
    let run = move || LocalSet::new().block_on(&runtime, accept_all(listeners, seats, stopped));
    std::thread::Builder::new().name("acceptor".to_owned()).spawn(run).map_err(failed)?;
    Ok(())
}

async fn accept_all(
    listeners: Vec<tokio::net::TcpListener>,
    seats: Seats,
    mut stopped: watch::Receiver<bool>,
) {
    let seats = Rc::new(RefCell::new(seats));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn_local(accept(listener, Rc::clone(&seats)));
    }
    // One whose sender is gone was stopped, too. The tasks end with their set.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Accepts from one socket, for ever.
async fn accept(listener: tokio::net::TcpListener, seats: Rc<RefCell<Seats>>) {
    let mut failing = false;
    loop {
        room(&seats).await;
        match listener.accept().await.and_then(|(stream, _)| stream.into_std()) {
            Ok(stream) => {
                failing = false;
                // Another socket may have filled it meanwhile.
                room(&seats).await;
                if !seats.borrow_mut().assign(stream) {
                    tracing::error!("no worker is left: no connection is accepted any more");
                    return pending().await;
                }
            }
            // It has gone before it was accepted.
            Err(error) if has_gone(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "a connection cannot be accepted; trying again");
                }
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// Waits until a worker has room.
async fn room(seats: &RefCell<Seats>) {
    while !seats.borrow().have_room() {
        sleep(ROOM_AGAIN).await;
    }
}

fn has_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// The workers, and whose turn it is among equals.
struct Seats {
    seats: Vec<Seat>,
    connections_max: i64,
    next: usize,
}

impl Seats {
    /// True when a worker may have one more, and when there is none at all: whoever comes next finds that out.
    fn have_room(&self) -> bool {
        self.seats.is_empty()
            || self.seats.iter().any(|seat| seat.load.connections.get() < self.connections_max)
    }

    /// What a worker has to do: its connections, and those that are busy once more. One that has as many as it may have is next
    /// to nobody.
    fn load(&self, cell: &CellLoad) -> i64 {
        let connections = cell.connections.get();
        if connections < self.connections_max { connections + cell.in_flight.get() } else { i64::MAX }
    }

    /// Gives a connection to the worker with the least to do; false when there is no worker any more.
    fn assign(&mut self, mut stream: TcpStream) -> bool {
        loop {
            let loads: Vec<_> = self.seats.iter().map(|seat| self.load(&seat.load)).collect();
            let Some(chosen) = least(&loads, self.next) else { return false };
            let Some(seat) = self.seats.get(chosen) else { return false };
            let connection = Connection { stream, open: seat.load.connections.enter() };
            match seat.connections.try_send(connection) {
                // Full it cannot be: it has room for as many as a worker may have.
                Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => {
                    self.next = chosen + 1;
                    return true;
                }
                Err(mpsc::error::TrySendError::Closed(connection)) => {
                    tracing::error!(cell = chosen, "a worker has ended; the others take its connections");
                    self.seats.swap_remove(chosen);
                    stream = connection.stream;
                }
            }
        }
    }
}

/// The place of the least of these, the first from `next` on among equals.
fn least(loads: &[i64], next: usize) -> Option<usize> {
    let count = loads.len();
    let places = (0..count).map(|place| (next + place) % count);
    places.min_by_key(|place| loads.get(*place).copied().unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_busy_is_next_and_equals_take_turns() {
        for (loads, next, chosen) in [
            (&[][..], 0, None),
            (&[7], 3, Some(0)),
            (&[1, 1], 0, Some(0)),
            (&[1, 1], 1, Some(1)),
            (&[1, 1], 2, Some(0)),
            (&[2, 1, 1], 0, Some(1)),
            (&[2, 1, 1], 2, Some(2)),
            (&[2, 1, 0], 1, Some(2)),
        ] {
            assert_eq!(least(loads, next), chosen, "{loads:?} from {next}");
        }
    }

    #[test]
    fn a_worker_that_has_ended_gets_nothing_and_one_that_is_full_nothing_more() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let seat = || {
            let (connections, taken) = mpsc::channel(2);
            (Seat { load: CellLoad::default(), connections }, taken)
        };
        let ((one, mut of_one), (two, of_two)) = (seat(), seat());
        let (load_one, load_two) = (one.load.clone(), two.load.clone());
        let mut seats = Seats { seats: vec![one, two], connections_max: 2, next: 0 };
        // The first is busier, but the second is full.
        let _calls = [load_one.in_flight.enter(), load_one.in_flight.enter()];
        let _full = [load_two.connections.enter(), load_two.connections.enter()];
        assert!(seats.assign(stream()) && seats.have_room());
        assert!(seats.assign(stream()) && !seats.have_room());
        assert_eq!((load_one.connections.get(), load_two.connections.get()), (2, 2));
        drop(of_one.try_recv().unwrap());
        assert!(seats.have_room() && load_one.connections.get() == 1);
        // The first has ended, and then the other, too.
        drop(of_one);
        assert!(seats.assign(stream()) && seats.seats.len() == 1);
        drop(of_two);
        assert!(!seats.assign(stream()));
        assert_eq!(load_one.connections.get(), 0);
    }
}
