//! The numbers in the text format of OpenMetrics 1.0, which Prometheus reads.

use crate::ledger::{FollowState, FollowStatus};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelValue, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric as _};
use prometheus_client::registry::Registry;
use std::fmt;
use tanglegate_broker::{ListenerStatistics, Outcome, Statistics};
use tanglegate_core::Timestamp;

/// What the text is.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that is told in one scrape.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) statistics: Statistics,
    /// In the order of the configuration.
    pub(super) listeners: Vec<ListenerStatistics>,
    /// Last event in the access table; 0 before the first.
    pub(super) position: u64,
    pub(super) stale: bool,
    pub(super) database_up: bool,
    pub(super) ledger: Option<FollowStatus>,
    pub(super) started_at: Timestamp,
}

impl Snapshot {
    /// The text.
    pub(super) fn to_text(&self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("tanglegate");
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.engine(&mut page)?;
        clients(&mut page, &self.statistics)?;
        messages(&mut page, &self.statistics)?;
        decisions(&mut page, &self.statistics)?;
        waiting(&mut page, &self.statistics)?;
        held(&mut page, &self.statistics)?;
        handshakes(&mut page, &self.listeners)?;
        stores(&mut page, &self.statistics)
    }
}

impl Snapshot {
    fn engine(&self, page: &mut Page<'_>) -> fmt::Result {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        page.gauges("build_info", "The version that runs", [(version, 1)])?;
        #[expect(
            clippy::cast_precision_loss,
            reason = "exact for the next 285,000 years"
        )]
        let started = self.started_at.0 as f64 / 1_000.0;
        let help = "When the engine was started, in Unix time";
        page.seconds("start_time_seconds", help, started)?;
        let help = "The last event in the access table";
        page.gauge("event_position", help, self.position)?;
        let help = "1 while the access table is not up to date and nothing new is granted";
        page.gauge("access_table_stale", help, u64::from(self.stale))?;
        let help = "1 while the database answers";
        page.gauge("database_up", help, u64::from(self.database_up))?;
        match &self.ledger {
            Some(ledger) => following(page, ledger),
            None => Ok(()),
        }
    }
}

fn following(page: &mut Page<'_>, ledger: &FollowStatus) -> fmt::Result {
    let follows = u64::from(ledger.state == FollowState::Following);
    page.gauge("ledger_up", "1 while the ledger's node answers", follows)?;
    let help = "Every payment in a checkpoint below this is recorded";
    page.gauge("ledger_checkpoint", help, ledger.watermark)?;
    if let (Some(latest), Some(lag)) = (ledger.node_checkpoint, ledger.lag()) {
        let help = "The node's latest checkpoint, as last heard";
        page.gauge("ledger_node_checkpoint", help, latest)?;
        let help = "Checkpoints of the node that were not looked through";
        page.gauge("ledger_lag_checkpoints", help, lag)?;
    }
    let help = "Payments recorded since the start";
    page.counter("ledger_payments", help, ledger.recorded)
}

fn clients(page: &mut Page<'_>, it: &Statistics) -> fmt::Result {
    let help = "Open connections";
    page.gauge("connections", help, it.open_connections)?;
    let help = "Connections that were accepted";
    page.counter("connections_accepted", help, it.connections)?;
    let help = "Connections that were closed unread, because a bound on connections was reached";
    page.counter("connections_refused", help, it.refused_connections)?;
    page.gauge("sessions", "Connected sessions", it.open_sessions)?;
    let help = "Sessions that are kept for clients who are away";
    page.gauge("sessions_away", help, it.away_sessions)?;
    page.counter(
        "sessions_opened",
        "CONNECTs that were accepted",
        it.sessions,
    )?;
    let ended = [
        ([("cause", "cut")], it.cut_sessions),
        ([("cause", "slow")], it.cut_slow_sessions),
        ([("cause", "room")], it.cut_for_room_sessions),
        ([("cause", "fault")], it.faulty_sessions),
        ([("cause", "panic")], it.panicked_sessions),
    ];
    let help = "Sessions that the gate ended: their login was closed or its password changed \
                (cut), they did not read (slow), what all clients may make the gate hold was used \
                up (room), they broke the protocol (fault), or by a defect (panic)";
    page.counters("sessions_ended", help, ended)?;
    let help = "Subscriptions of all sessions";
    page.gauge("subscriptions", help, it.open_subscriptions)
}

fn messages(page: &mut Page<'_>, it: &Statistics) -> fmt::Result {
    let help = "PUBLISH packets received";
    page.counter("messages_received", help, it.received_messages)?;
    let help = "PUBLISH packets handed to sockets";
    page.counter("messages_sent", help, it.sent_messages)?;
    page.counter("received_bytes", "Bytes received", it.received_bytes)?;
    let help = "Bytes handed to sockets";
    page.counter("sent_bytes", help, it.sent_bytes)?;
    let help = "Bytes of the payloads of PUBLISH packets received";
    page.counter("received_payload_bytes", help, it.received_payload_bytes)?;
    let dropped = [
        ([("reason", "slow")], it.dropped_slow),
        ([("reason", "ended")], it.dropped_ended),
        ([("reason", "expired")], it.dropped_expired),
        ([("reason", "too_large")], it.dropped_too_large),
        ([("reason", "not_retained")], it.dropped_retained),
    ];
    let help = "Messages that did not reach a reader, or the store of retained messages: the \
                reader was too slow (slow), the right ended (ended) or the message expired \
                (expired) while it was queued, it is larger than the reader accepts (too_large), \
                the store is full (not_retained)";
    page.counters("messages_dropped", help, dropped)?;
    let help = "Messages that may have been taken by a socket after their right had ended";
    page.counter("messages_late", help, it.late_messages)?;
    let help = "The largest time from the end of a right to the last message under it";
    #[expect(clippy::cast_precision_loss, reason = "seconds, for people")]
    let lateness = it.largest_lateness_ms as f64 / 1_000.0;
    page.seconds("largest_lateness_seconds", help, lateness)
}

fn decisions(page: &mut Page<'_>, it: &Statistics) -> fmt::Result {
    let (mut permits, mut denials) = (vec![], vec![]);
    for (stage, outcome, count) in it.decisions.entries() {
        match outcome {
            Outcome::Permitted => permits.push(([("stage", stage.as_str())], count)),
            no => {
                let labels = [("stage", stage.as_str()), ("reason", no.as_str())];
                denials.push((labels, count));
            }
        }
    }
    let help = "How often the gate said yes; of publish once per topic and change of rights, of \
                deliver for every message handed over";
    page.counters("permits", help, permits)?;
    let help = "How often the gate said no, and why";
    page.counters("denials", help, denials)
}

fn handshakes(page: &mut Page<'_>, listeners: &[ListenerStatistics]) -> fmt::Result {
    let (mut failed, mut ends, mut due) = (vec![], vec![], vec![]);
    for it in listeners {
        let at = it.address.to_string();
        for (layer, count) in [("tls", it.failed_tls), ("websocket", it.failed_websocket)] {
            let labels = [("listener", at.clone()), ("layer", layer.to_owned())];
            failed.extend(count.map(|count| (labels, count)));
        }
        let seconds = |at: &String, instant: Timestamp| {
            let labels = [("listener", at.clone())];
            (labels, instant.0 / 1_000)
        };
        ends.extend(it.certificate_expires.map(|end| seconds(&at, end)));
        due.extend(it.revocation_list_due.map(|end| seconds(&at, end)));
    }
    let help = "Clients that were not understood before their CONNECT: failed TLS handshakes, and \
                requests for a WebSocket that were none";
    page.counters("handshakes_failed", help, failed)?;
    let help = "When the first certificate that the listener shows ends, in Unix time";
    page.gauges("certificate_expires_seconds", help, ends)?;
    let help = "When the first list of revoked certificates is overdue, in Unix time; no \
                certificate opens anything from then on";
    page.gauges("revocation_list_due_seconds", help, due)
}

fn waiting(page: &mut Page<'_>, it: &Statistics) -> fmt::Result {
    let of = |known, anonymous| {
        [
            ([("clients", "known")], known),
            ([("clients", "anonymous")], anonymous),
        ]
    };
    let help = "Messages that wait for clients, connected or away";
    let now = of(it.known_waiting, it.anonymous_waiting);
    page.gauges("waiting_messages", help, now)?;
    let help = "Bytes of messages that wait for clients, with what keeping them costs";
    let now = of(it.known_waiting_bytes, it.anonymous_waiting_bytes);
    page.gauges("waiting_bytes", help, now)?;
    let help = "Changes of sessions and retained messages that the store has still to write";
    page.gauge("store_backlog_changes", help, it.store_backlog)?;
    let help = "Bytes of these changes; publishers wait beyond 8 MB";
    page.gauge("store_backlog_bytes", help, it.store_backlog_bytes)
}

fn held(page: &mut Page<'_>, it: &Statistics) -> fmt::Result {
    let of = |known, anonymous, opening| {
        [
            ([("clients", "known")], known),
            ([("clients", "anonymous")], anonymous),
            ([("clients", "opening")], opening),
        ]
    };
    let help = "Bytes that clients make the gate hold, beyond the first of each: those with a login \
                (known), without one (anonymous), and not known yet (opening)";
    let now = of(it.known_bytes, it.anonymous_bytes, it.opening_bytes);
    page.gauges("held_bytes", help, now)?;
    let help = "The most of these bytes; who asks for more is refused or closed";
    let most = of(
        it.known_bytes_bound,
        it.anonymous_bytes_bound,
        it.opening_bytes_bound,
    );
    page.gauges("held_limit_bytes", help, most)
}

fn stores(page: &mut Page<'_>, it: &Statistics) -> fmt::Result {
    page.gauge(
        "retained_messages",
        "Retained messages",
        it.retained_messages,
    )?;
    let help = "Bytes of retained messages, with what keeping them costs";
    page.gauge("retained_bytes", help, it.retained_bytes)?;
    let help = "Answers to keys of buyers that nobody has picked up yet";
    page.gauge("answers", help, it.answers)?;
    let help = "Bytes of these answers, with what keeping them costs";
    page.gauge("answer_bytes", help, it.answer_bytes)?;
    let help = "Answers that were forgotten for want of room before anybody picked them up";
    page.counter("answers_dropped", help, it.dropped_answers)?;
    let help = "Keys that were made for clients that asked for one";
    page.counter("keys_made", help, it.keys)?;
    let help = "Bytes of published messages on their way to the shards";
    page.gauge("log_bytes", help, it.log_bytes)?;
    let help = "Publishers wait while more bytes than this are on their way to the shards";
    page.gauge("log_limit_bytes", help, it.log_bytes_bound)?;
    let help = "Batches of messages that were passed on without the log, because it was idle";
    page.counter("log_records_served_at_once", help, it.served_at_once)?;
    let help = "Batches of messages that the log lost; each is a defect";
    page.counter("log_records_lost", help, it.lost_records)
}

/// The text under way.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let gauge = ConstGauge::new(value);
        let encoder = self
            .0
            .encode_descriptor(name, help, None, gauge.metric_type());
        gauge.encode(encoder?)
    }

    fn seconds(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let gauge = ConstGauge::new(value);
        let encoder = self
            .0
            .encode_descriptor(name, help, None, gauge.metric_type());
        gauge.encode(encoder?)
    }

    /// `_total` is added to the name.
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let counter = ConstCounter::new(value);
        let encoder = self
            .0
            .encode_descriptor(name, help, None, counter.metric_type());
        counter.encode(encoder?)
    }

    fn gauges<const N: usize, V: EncodeLabelValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([(&'static str, V); N], u64)>,
    ) -> fmt::Result {
        let kind = ConstGauge::<u64>::TYPE;
        self.family(name, help, kind, values, ConstGauge::new)
    }

    fn counters<const N: usize, V: EncodeLabelValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([(&'static str, V); N], u64)>,
    ) -> fmt::Result {
        let kind = ConstCounter::<u64>::TYPE;
        self.family(name, help, kind, values, ConstCounter::new)
    }

    fn family<const N: usize, V: EncodeLabelValue, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        values: impl IntoIterator<Item = ([(&'static str, V); N], u64)>,
        metric: impl Fn(u64) -> M,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in values {
            metric(value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        Snapshot {
            statistics: Statistics {
                open_connections: 3,
                sent_messages: 1_u64 << 60,
                ..Statistics::default()
            },
            listeners: vec![ListenerStatistics {
                address: ([127, 0, 0, 1], 8883).into(),
                failed_tls: Some(4),
                failed_websocket: None,
                certificate_expires: Some(Timestamp(1_800_000_000_999)),
                revocation_list_due: None,
            }],
            position: 7,
            stale: true,
            database_up: false,
            ledger: None,
            started_at: Timestamp(1_500),
        }
    }

    #[test]
    fn numbers_stand_with_their_names_labels_and_types() {
        let text = snapshot().to_text().unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for line in [
            "# TYPE tanglegate_connections gauge",
            "tanglegate_connections 3",
            "# TYPE tanglegate_messages_sent counter",
            "tanglegate_messages_sent_total 1152921504606846976",
            "tanglegate_access_table_stale 1",
            "tanglegate_database_up 0",
            "tanglegate_start_time_seconds 1.5",
            "tanglegate_denials_total{stage=\"publish\",reason=\"reserved\"} 0",
            "tanglegate_permits_total{stage=\"deliver\"} 0",
            "tanglegate_waiting_messages{clients=\"known\"} 0",
            "tanglegate_handshakes_failed_total{listener=\"127.0.0.1:8883\",layer=\"tls\"} 4",
            "tanglegate_certificate_expires_seconds{listener=\"127.0.0.1:8883\"} 1800000000",
            "# EOF",
        ] {
            assert!(lines.contains(&line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("ledger"), "none is followed");
    }
}
