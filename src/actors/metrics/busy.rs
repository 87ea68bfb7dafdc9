//! How busy the process is: its cells and the mailboxes of its actors, set anew at each scrape.

use super::exposition::Family;
use super::names::Metric;
use crate::actors::gauges::Gauges;
use crate::actors::mailbox::Mailbox;
use crate::telemetry;

/// The series.
pub struct Busy {
    cells: Family<f64>,
    in_flight: Family<f64>,
    connections: Family<f64>,
    waiting: Family<f64>,
    full: Family<u64>,
    draining: Family<f64>,
    log_dropped: Family<u64>,
}

impl Busy {
    /// Without series yet.
    pub fn new() -> Self {
        Self {
            cells: Family::new(Metric::Cells),
            in_flight: Family::new(Metric::CellInFlight),
            connections: Family::new(Metric::CellConnections),
            waiting: Family::new(Metric::Mailbox),
            full: Family::new(Metric::MailboxFull),
            draining: Family::new(Metric::Draining),
            log_dropped: Family::new(Metric::LogDropped),
        }
    }

    /// Sets all of them.
    pub fn update(&mut self, gauges: &Gauges) {
        let loads = gauges.cells.loads();
        self.cells.set(&[], loads.len() as f64);
        for (number, load) in loads.iter().enumerate() {
            let number = number.to_string();
            self.in_flight.set(&[&number], load.in_flight.get() as f64);
            self.connections.set(&[&number], load.connections.get() as f64);
        }
        let supervisors = loads.iter().map(|load| &load.supervisor);
        let providers = loads.iter().map(|load| &load.providers);
        self.mailboxes("supervisor", supervisors);
        self.mailboxes("provider", providers);
        self.mailboxes("billing", [&gauges.billing]);
        self.mailboxes("metrics", [&gauges.metrics]);
        self.draining.set(&[], gauges.drain.elapsed().as_secs_f64());
        self.log_dropped.set(&[], telemetry::dropped());
    }

    fn mailboxes<'a>(&mut self, actor: &str, mailboxes: impl IntoIterator<Item = &'a Mailbox>) {
        let (mut waiting, mut full) = (0, 0);
        for mailbox in mailboxes {
            waiting += mailbox.waiting();
            full += mailbox.full();
        }
        self.waiting.set(&[actor], waiting as f64);
        self.full.set(&[actor], full);
    }

    /// Writes all of them.
    pub fn write(&mut self, out: &mut String) {
        let (cells, in_flight, connections) = (&mut self.cells, &mut self.in_flight, &mut self.connections);
        for family in [cells, in_flight, connections, &mut self.waiting, &mut self.draining] {
            family.write(out);
        }
        self.full.write(out);
        self.log_dropped.write(out);
    }
}
