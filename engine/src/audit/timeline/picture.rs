//! The picture: one time axis from left to right, one lane below the other.

use super::axis::ticks;
use super::lanes::{End, Lane, Lanes, Point, Stretch, gaps};
use super::page::escape;
use super::{Timeline, lanes};
use std::fmt::Write;
use tanglegate_core::Timestamp;

/// Sizes in the picture's own units; it grows and shrinks with the page.
const WIDTH: f64 = 1_160.0;
const LEFT: f64 = 216.0;
const RIGHT: f64 = WIDTH - 28.0;
const AXIS: f64 = 46.0;
const LANE: f64 = 38.0;
const BAR: f64 = 20.0;
/// The advance of one letter of 11 units; wide letters take two.
const LETTER: f64 = 6.4;
/// Rows that payments may take, so that what stands beside them does not collide; below them is
/// one for those that find no room.
const ROWS: usize = 4;
const ROW: f64 = 18.0;
/// Filters that are drawn; the others stand in the table.
const MOST_LANES: usize = 120;

/// The picture, and how many filters it leaves out.
pub(super) fn picture(of: &Timeline) -> (String, usize) {
    let mut lanes = lanes::lanes(&of.told);
    lanes.rights.retain(|it| shows(of, it));
    let left_out = lanes.rights.len().saturating_sub(MOST_LANES);
    lanes.rights.truncate(MOST_LANES);
    let mut picture = Picture::new(of);
    picture.draw(&lanes);
    (picture.finish(), left_out)
}

/// Whether any of a lane's rights falls into the picture.
fn shows(of: &Timeline, lane: &Lane) -> bool {
    let inside = |it: &Stretch| it.from < of.to && it.until > of.from;
    lane.stretches.iter().any(inside)
}

struct Picture<'a> {
    of: &'a Timeline,
    below: f64,
    shapes: String,
}

impl<'a> Picture<'a> {
    fn new(of: &'a Timeline) -> Self {
        Self {
            of,
            below: AXIS,
            shapes: String::new(),
        }
    }

    fn draw(&mut self, lanes: &Lanes) {
        self.login(lanes);
        self.payments(&lanes.payments);
        self.announced(&lanes.announced);
        for lane in &lanes.rights {
            self.right(lane, lanes);
        }
        self.suspended(lanes);
    }

    fn finish(self) -> String {
        let height = self.below + 10.0;
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
             aria-label=\"Timeline; the table below says the same in words\">\n\
             <defs><pattern id=\"hatch\" width=\"7\" height=\"7\" patternTransform=\"rotate(45)\" \
             patternUnits=\"userSpaceOnUse\"><rect class=\"hatch\" width=\"2.4\" height=\"7\"/>\
             </pattern></defs>\n"
        );
        svg.push_str(&self.axis());
        svg.push_str(&self.shapes);
        svg.push_str(&self.now());
        svg.push_str("</svg>\n");
        svg
    }

    fn x(&self, at: Timestamp) -> f64 {
        let span = self.of.to.millis_since(self.of.from) as f64;
        let at = at.clamp(self.of.from, self.of.to);
        LEFT + (RIGHT - LEFT) * (at.millis_since(self.of.from) as f64 / span)
    }

    fn inside(&self, at: Timestamp) -> bool {
        self.of.from <= at && at <= self.of.to
    }

    fn axis(&self) -> String {
        let mut svg = String::new();
        let mut free = 0.0;
        for tick in ticks(self.of.from, self.of.to) {
            let x = self.x(tick.at);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{:.1}\"/>\
                 <text class=\"tick\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                AXIS - 6.0,
                self.below,
                AXIS - 12.0,
                tick.fine
            );
            if let Some(coarse) = tick.coarse.filter(|_| x >= free) {
                free = x + width(&coarse) + 14.0;
                let _ = write!(
                    svg,
                    "<text class=\"day\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{coarse}</text>",
                    AXIS - 28.0
                );
            }
            svg.push('\n');
        }
        svg
    }

    fn now(&self) -> String {
        let Timeline { now, from, to, .. } = *self.of;
        if now <= from || now >= to {
            return String::new();
        }
        let x = self.x(now);
        format!(
            "<g><title>when this was drawn: {now}</title><line class=\"now\" x1=\"{x:.1}\" \
             x2=\"{x:.1}\" y1=\"{}\" y2=\"{:.1}\"/></g>\n",
            AXIS - 6.0,
            self.below
        )
    }

    /// A new lane with its name; where it begins.
    fn lane(&mut self, name: &str, under: &str, title: &str, height: f64) -> f64 {
        let top = self.below;
        self.below += height;
        let middle = top + height / 2.0;
        let (name_y, under_y) = match under {
            "" => (middle + 4.0, middle),
            _ => (middle - 2.0, middle + 12.0),
        };
        let _ = writeln!(
            self.shapes,
            "<line class=\"rule\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{top:.1}\" y2=\"{top:.1}\"/>\
             <g><title>{}</title><text class=\"name\" x=\"4\" y=\"{name_y:.1}\">{}</text>\
             <text class=\"under\" x=\"4\" y=\"{under_y:.1}\">{}</text></g>",
            escape(title),
            escape(&shortened(name, 30)),
            escape(under)
        );
        top
    }

    fn login(&mut self, lanes: &Lanes) {
        let top = self.lane("Login", "", "Login: registered, suspended, erased", LANE);
        let (Some(born), middle) = (lanes.registered, top + LANE / 2.0) else {
            return;
        };
        let end = lanes.erased.map_or(self.of.now.max(born), |it| it.0);
        let (x, to) = (self.x(born), self.x(end));
        let _ = writeln!(
            self.shapes,
            "<g><title>registered {born}</title><line class=\"life\" x1=\"{x:.1}\" x2=\"{to:.1}\" \
             y1=\"{middle:.1}\" y2=\"{middle:.1}\"/></g>"
        );
        if self.inside(born) {
            self.dot("life-dot", x, middle, 4.5);
        }
        let mut free = LEFT;
        let of = self.of;
        let shown = lanes.passwords.iter();
        for point in shown.filter(|it| of.from <= it.at && it.at <= of.to) {
            let x = self.x(point.at);
            let label = if x - 5.0 >= free {
                point.label.as_str()
            } else {
                ""
            };
            let diamond = format!(
                "<path class=\"password\" d=\"M{x:.1} {:.1}l6 6l-6 6l-6-6z\"/>",
                middle - 6.0
            );
            let shown = self.mark(point, &diamond, label, (x + 10.0, middle - 6.0));
            free = free.max(shown);
        }
        if let Some((at, event)) = lanes.erased.filter(|it| self.inside(it.0)) {
            let (x, title) = (self.x(at), format!("erased {at}"));
            let _ = writeln!(
                self.shapes,
                "<a href=\"#e{event}\"><title>{title}</title><path class=\"erased\" \
                 d=\"M{:.1} {:.1}l10 10m0 -10l-10 10\"/></a>",
                x - 5.0,
                middle - 5.0
            );
        }
    }

    fn dot(&mut self, class: &str, x: f64, y: f64, r: f64) {
        let _ = writeln!(
            self.shapes,
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{r}\"/>"
        );
    }

    /// A shape at an instant that leads to its event, with a few letters beside it; where they end.
    fn mark(&mut self, point: &Point, shape: &str, label: &str, at: (f64, f64)) -> f64 {
        let room = width(label);
        // Near the right edge letters stand on the other side.
        let (x, anchor) = match at.0 + room > WIDTH - 2.0 {
            true => (at.0 - 20.0, "end"),
            false => (at.0, "start"),
        };
        let _ = writeln!(
            self.shapes,
            "<a href=\"#e{}\"><title>{}\n{}</title>{shape}<text class=\"label\" x=\"{x:.1}\" \
             y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text></a>",
            point.event,
            point.at,
            escape(&point.title),
            at.1,
            escape(label)
        );
        at.0 + room + 8.0
    }

    /// Payments stand in as many rows as their amounts need; where there are too many, some
    /// stand without.
    fn payments(&mut self, payments: &[Point]) {
        let of = self.of;
        let shown = payments
            .iter()
            .filter(|it| of.from <= it.at && it.at <= of.to);
        let mut free = [LEFT - 8.0; ROWS];
        let mut placed = Vec::new();
        for point in shown {
            let x = self.x(point.at);
            let row = free.iter().position(|it| *it <= x - 6.0);
            let labelled = row.is_some();
            let row = row.unwrap_or(ROWS);
            if let Some(free) = free.get_mut(row) {
                *free = x + width(&point.label) + 16.0;
            }
            placed.push((point, x, row, labelled));
        }
        let rows = placed.iter().map(|it| it.2 + 1).max().unwrap_or(1);
        let height = (ROW * rows as f64 + 10.0).max(LANE);
        let top = self.lane("Payments", "", "Payments on the ledger", height);
        let above = (height - ROW * rows as f64) / 2.0;
        for (point, x, row, labelled) in placed {
            let y = top + above + ROW * (row as f64 + 0.5);
            let class = if point.well { "paid" } else { "waits" };
            let circle = format!("<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"/>");
            let label = if labelled { point.label.as_str() } else { "" };
            self.mark(point, &circle, label, (x + 9.0, y + 4.0));
        }
    }

    /// What the buyer was told; nothing where nobody was told anything.
    fn announced(&mut self, announced: &[Point]) {
        if announced.is_empty() {
            return;
        }
        let title = "Announcements, sealed to the buyer";
        let top = self.lane("Announcements", "", title, LANE);
        for point in announced
            .iter()
            .filter(|it| self.of.from <= it.at && it.at <= self.of.to)
        {
            let (x, y) = (self.x(point.at), top + LANE / 2.0);
            let envelope = format!(
                "<path class=\"announced\" d=\"M{:.1} {:.1}h12v8h-12zl6 5l6-5\"/>",
                x - 6.0,
                y - 4.0
            );
            self.mark(point, &envelope, "", (x, y));
        }
    }

    fn right(&mut self, lane: &Lane, all: &Lanes) {
        let filter = lane.filter.as_str();
        let (access, kind) = (lane.access, if lane.by_rule { "rule" } else { "lease" });
        let under = format!("{access}, by {kind}");
        let top = self.lane(filter, &under, &format!("{filter}\n{under}"), LANE);
        let y = top + (LANE - BAR) / 2.0;
        self.gaps(lane, all, y);
        for (number, stretch) in lane.stretches.iter().enumerate() {
            if stretch.from < self.of.to && stretch.until > self.of.from {
                let next = lane.stretches.get(number + 1).map(|it| it.from);
                self.stretch(stretch, next, kind, y);
            }
        }
    }

    /// While there was no such right, as far as is known.
    fn gaps(&mut self, lane: &Lane, all: &Lanes, y: f64) {
        let born = all.registered.unwrap_or(self.of.from).max(self.of.from);
        let gone = all.erased.map_or(self.of.to, |it| it.0);
        let known = self.of.to.min(self.of.now).min(gone);
        let middle = y + BAR / 2.0;
        for (from, to) in gaps(lane, born, known) {
            let (x, end) = (self.x(from.max(self.of.from)), self.x(to));
            let _ = write!(
                self.shapes,
                "<g><title>no right from {from} until {to}</title><line class=\"none\" \
                 x1=\"{x:.1}\" x2=\"{end:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>"
            );
            let room = width("no right");
            if end - x > room + 90.0 {
                let _ = write!(
                    self.shapes,
                    "<rect class=\"paper\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" \
                     height=\"{BAR}\"/><text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" \
                     text-anchor=\"middle\">no right</text>",
                    (x + end - room) / 2.0 - 5.0,
                    room + 10.0,
                    (x + end) / 2.0,
                    middle + 4.0
                );
            }
            self.shapes.push_str("</g>\n");
        }
    }

    fn stretch(&mut self, it: &Stretch, next: Option<Timestamp>, kind: &str, y: f64) {
        let (x, end) = (self.x(it.from), self.x(it.until));
        let wide = (end - x).max(1.5);
        let how = if it.extends { "extended" } else { "granted" };
        let over = match it.end {
            End::Natural => "its time is over then",
            End::Cut => "taken away then",
            End::Open => "without end",
        };
        let _ = write!(
            self.shapes,
            "<a href=\"#e{}\"><title>{}: {how} from {} until {} ({over})</title>\
             <rect class=\"{kind} {how}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" \
             height=\"{BAR}\" rx=\"2\"/>",
            it.event,
            escape(&it.label),
            it.from,
            it.until
        );
        let mut solid = wide;
        let ahead = self.x(self.of.now.max(it.from));
        if self.of.now < self.of.to && it.end != End::Open && ahead < end {
            solid = ahead - x;
            // What is still to come.
            let _ = write!(
                self.shapes,
                "<rect class=\"ahead\" x=\"{ahead:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{}\"/>",
                y + 1.0,
                end - ahead,
                BAR - 2.0
            );
        }
        if it.extends && self.inside(it.from) {
            let _ = write!(
                self.shapes,
                "<line class=\"seam\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{y:.1}\" y2=\"{:.1}\"/>",
                y + BAR
            );
        }
        #[expect(clippy::cast_possible_truncation, reason = "no picture is that wide")]
        #[expect(clippy::cast_sign_loss, reason = "not below 0")]
        let letters = ((solid - 12.0) / LETTER).max(0.0) as usize;
        if letters >= 5 {
            let _ = write!(
                self.shapes,
                "<text class=\"on\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                x + 6.0,
                y + BAR / 2.0 + 4.0,
                escape(&shortened(&it.label, letters))
            );
        }
        self.shapes.push_str("</a>\n");
        if it.end == End::Cut && self.inside(it.until) {
            self.revoked(it, end, next.map_or(RIGHT, |it| self.x(it)), y);
        }
    }

    fn revoked(&mut self, it: &Stretch, x: f64, next: f64, y: f64) {
        let event = it.cut_by.unwrap_or(it.event);
        let word = if next - x > width("revoked") + 10.0 {
            "revoked"
        } else {
            ""
        };
        let _ = writeln!(
            self.shapes,
            "<a href=\"#e{event}\"><title>taken away {}</title><line class=\"cut\" x1=\"{x:.1}\" \
             x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/><rect class=\"paper\" x=\"{:.1}\" \
             y=\"{:.1}\" width=\"{:.1}\" height=\"14\"/><text class=\"label bad\" x=\"{:.1}\" \
             y=\"{:.1}\">{word}</text></a>",
            it.until,
            y - 4.0,
            y + BAR + 4.0,
            x + 3.0,
            y + 3.0,
            if word.is_empty() {
                0.0
            } else {
                width(word) + 6.0
            },
            x + 6.0,
            y + BAR / 2.0 + 4.0
        );
    }

    /// Over everything: while the login was closed no right was of use.
    fn suspended(&mut self, lanes: &Lanes) {
        for (from, until, event) in &lanes.suspended {
            if *from >= self.of.to || *until <= self.of.from {
                continue;
            }
            let until = (*until).min(self.of.now.max(*from));
            let (x, end) = (self.x(*from), self.x(until));
            let (high, wide) = (self.below - AXIS, (end - x).max(2.0));
            // The upper part tells of itself; below it the bars under the hatching do.
            let _ = writeln!(
                self.shapes,
                "<rect class=\"suspended\" x=\"{x:.1}\" y=\"{AXIS}\" width=\"{wide:.1}\" \
                 height=\"{high:.1}\"/>\n<a href=\"#e{event}\"><title>suspended from {from} until \
                 {until}</title><rect class=\"touch\" x=\"{x:.1}\" y=\"{AXIS}\" \
                 width=\"{wide:.1}\" height=\"{LANE}\"/></a>"
            );
        }
    }
}

/// How much room a text takes, at most.
fn width(text: &str) -> f64 {
    LETTER * units(text) as f64
}

fn units(text: &str) -> usize {
    text.chars()
        .map(|it| if it.is_ascii() { 1 } else { 2 })
        .sum()
}

/// A text that takes at most `most` letters' room.
fn shortened(text: &str, most: usize) -> String {
    if units(text) <= most {
        return text.to_owned();
    }
    let mut room = most.saturating_sub(2);
    let fits = |it: &char| {
        let wide = if it.is_ascii() { 1 } else { 2 };
        let fits = room >= wide;
        room = room.saturating_sub(wide);
        fits
    };
    text.chars().take_while(fits).chain(['…']).collect()
}
