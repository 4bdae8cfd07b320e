//! Rows of JSON objects as a table for people.

use serde_json::Value;

/// Prints the named fields of every row, or the rows themselves as JSON.
pub(crate) fn print(rows: &Value, columns: &[&str], json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(rows)?);
        return Ok(());
    }
    print!("{}", format(rows, columns));
    Ok(())
}

fn format(rows: &Value, columns: &[&str]) -> String {
    let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
    let titles = columns
        .iter()
        .map(|it| it.to_uppercase().replace('_', " "))
        .collect();
    let cells = rows
        .iter()
        .map(|row| columns.iter().map(|it| cell(&row[*it])).collect());
    let table: Vec<Vec<String>> = std::iter::once(titles).chain(cells).collect();
    let width = |column: usize| table.iter().map(|it| it[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).filter_map(width).collect();
    let mut text = String::new();
    for row in &table {
        let padded = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => printable(text),
        other => other.to_string(),
    }
}

/// A text for the terminal. A name may hold anything; control characters would disturb it.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|it| !it.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = serde_json::json!([{"who": "ana", "n": 5}, {"who": "b\u{7}ob", "n": null}]);
        assert_eq!(format(&rows, &["who", "n"]), "WHO  N\nana  5\nbob  -\n");
    }
}
