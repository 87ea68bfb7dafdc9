//! How busy each cell is: its calls in flight and the messages that wait for its actors. Atomics of the cell's own, so
//! that cells do not share a line of the cache, read at each scrape.

use std::sync::{Arc, Mutex, PoisonError};

use super::gauges::{Gauges, InFlight};
use super::mailbox::Mailbox;

/// What one cell counts. Cloning shares the counts.
#[derive(Clone, Debug, Default)]
pub struct CellLoad {
    /// Its calls in flight.
    pub in_flight: InFlight,
    /// Its clients' connections, idle ones too.
    pub connections: InFlight,
    /// Messages to its supervisor.
    pub supervisor: Mailbox,
    /// Messages to its providers.
    pub providers: Mailbox,
}

/// The cells that were started, in order. Cloning shares the list; it is locked when a cell starts and at a scrape.
#[derive(Clone, Debug, Default)]
pub struct Cells(Arc<Mutex<Vec<CellLoad>>>);

impl Cells {
    /// A cell starts; its calls in flight count among those of the process.
    pub fn start(gauges: &Gauges) -> CellLoad {
        let load = CellLoad { in_flight: gauges.in_flight.part(), ..CellLoad::default() };
        gauges.cells.0.lock().unwrap_or_else(PoisonError::into_inner).push(load.clone());
        load
    }

    /// All of them.
    pub fn loads(&self) -> Vec<CellLoad> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_in_flight_counts_in_its_cell_and_in_the_process() {
        let gauges = Gauges::default();
        let (one, two) = (Cells::start(&gauges), Cells::start(&gauges));
        let call = one.in_flight.enter();
        assert_eq!((one.in_flight.get(), two.in_flight.get(), gauges.in_flight.get()), (1, 0, 1));
        let other = two.in_flight.enter();
        drop(call);
        assert_eq!((one.in_flight.get(), two.in_flight.get(), gauges.in_flight.get()), (0, 1, 1));
        drop(other);
        assert_eq!((gauges.in_flight.get(), gauges.cells.loads().len()), (0, 2));
    }
}
