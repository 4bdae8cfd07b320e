//! The page around the picture.

use super::picture::picture;
use super::{Timeline, Told, lanes};
use std::fmt::Write;
use tanglegate_core::Nanos;

const STYLE: &str = include_str!("page.css");

/// What the colours and shapes mean.
const KEY: [(&str, &str); 10] = [
    (
        "<circle class=\"paid\" cx=\"13\" cy=\"7\" r=\"5\"/>",
        "payment, booked",
    ),
    (
        "<circle class=\"waits\" cx=\"13\" cy=\"7\" r=\"5\"/>",
        "payment that waits",
    ),
    (
        "<path class=\"announced\" d=\"M7 3h12v8h-12zl6 5l6-5\"/>",
        "told, sealed to the buyer",
    ),
    (
        "<rect class=\"lease\" width=\"26\" height=\"14\" rx=\"2\"/>",
        "lease",
    ),
    (
        "<rect class=\"lease\" width=\"13\" height=\"14\"/>\
         <rect class=\"lease extended\" x=\"13\" width=\"13\" height=\"14\"/>\
         <line class=\"seam\" x1=\"13\" x2=\"13\" y2=\"14\"/>",
        "extended by a payment",
    ),
    (
        "<rect class=\"rule\" width=\"26\" height=\"14\" rx=\"2\"/>",
        "rule, without end",
    ),
    (
        "<line class=\"cut\" x1=\"13\" x2=\"13\" y2=\"14\"/>",
        "taken away",
    ),
    (
        "<line class=\"none\" x2=\"26\" y1=\"7\" y2=\"7\"/>",
        "no right",
    ),
    (
        "<rect class=\"suspended\" width=\"26\" height=\"14\"/>",
        "login suspended",
    ),
    (
        "<line class=\"now\" x1=\"13\" x2=\"13\" y2=\"14\"/>",
        "when this was drawn",
    ),
];

/// The whole file.
pub(super) fn page(of: &Timeline) -> String {
    let called = escape(&of.called);
    let (picture, left_out) = picture(of);
    let lanes = lanes::lanes(&of.told);
    let paid = u64::try_from(lanes.paid)
        .map_or_else(|_| lanes.paid.to_string(), |it| Nanos(it).to_string());
    let payments = match lanes.payments.len() {
        1 => "1 payment".to_owned(),
        many => format!("{many} payments"),
    };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Timeline of {called}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>Timeline of {called}</h1>\n\
         <p>subscriber <code>{}</code> · <b>{payments}</b>, <b>{paid}</b> in all</p>\n\
         <p>{} to {} · from the log up to event {} · instants are UTC, by the log’s clock</p>\n\
         {picture}",
        of.subject, of.from, of.to, of.position.0
    );
    page.push_str("<ul class=\"key\">\n");
    for (shape, meaning) in KEY {
        let _ = writeln!(
            page,
            "<li><svg viewBox=\"0 0 26 14\" aria-hidden=\"true\">{shape}</svg>{meaning}</li>"
        );
    }
    page.push_str("</ul>\n");
    if left_out > 0 {
        let _ = writeln!(
            page,
            "<p>{left_out} more filters are not drawn; their events stand in the table.</p>"
        );
    }
    page.push_str(&table(of));
    page.push_str("</body>\n</html>\n");
    page
}

fn table(of: &Timeline) -> String {
    let mut table = String::from(
        "<h2>The same in words</h2>\n<table>\n<thead><tr><th scope=\"col\">Event</th>\
         <th scope=\"col\">Recorded</th><th scope=\"col\">What happened</th>\
         <th scope=\"col\">Leaf in the hash tree</th></tr></thead>\n<tbody>\n",
    );
    for Told { link, at, .. } in &of.told {
        let position = link.position;
        let _ = write!(
            table,
            "<tr id=\"e{position}\"><td>{position}</td><td><time datetime=\"{at}\">{at}</time></td>\
             <td>{}",
            escape(&link.text)
        );
        if let Some(transaction) = &link.transaction {
            let _ = write!(
                table,
                "<small>ledger transaction <code>{}</code></small>",
                escape(transaction)
            );
        }
        if let Some(request) = &link.request {
            let _ = write!(
                table,
                "<small>request <code>{}</code></small>",
                escape(request)
            );
        }
        let _ = writeln!(
            table,
            "<small>brought by: {}</small></td><td><code>{}</code></td></tr>",
            escape(&link.origin),
            escape(&link.leaf)
        );
    }
    table.push_str("</tbody>\n</table>\n");
    table.push_str(
        "<p>Each leaf can be proved to stand in the log, and the proof checked without it: \
         <code>tanglegate audit prove --event N</code>.</p>\n",
    );
    table
}

/// A text from outside, as text of HTML or of an attribute. What would turn the writing around, or
/// cannot be seen, is shown as a replacement character.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for it in text.chars() {
        match it {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' => safe.push('\n'),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                safe.push('\u{fffd}');
            }
            it if it.is_control() => safe.push('\u{fffd}'),
            it => safe.push(it),
        }
    }
    safe
}
