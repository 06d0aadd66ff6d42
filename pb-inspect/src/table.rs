//! Tables that fit into so many columns: what is too long is cut, the longest first.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::out::plain;

/// A column's head, and how it stands.
#[derive(Clone, Copy)]
pub(crate) enum Column {
    /// Numbers, which are never cut.
    Right(&'static str),
    /// Texts.
    Left(&'static str),
}

impl Column {
    fn head(self) -> &'static str {
        match self {
            Column::Right(head) | Column::Left(head) => head,
        }
    }
}

/// The table as lines.
pub(crate) fn table(columns: &[Column], rows: Vec<Vec<String>>, width: usize) -> String {
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let natural = |at: usize, column: &Column| {
        let cells = rows.iter().map(|row| row[at].width());
        cells.chain([column.head().width()]).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = columns.iter().enumerate().map(|(at, column)| natural(at, column)).collect();
    fit(columns, &mut widths, width);
    let heads = columns.iter().map(|column| column.head().to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&heads).chain(&rows) {
        let mut line = String::new();
        for ((column, cell), width) in columns.iter().zip(row).zip(&widths) {
            let cell = cut(cell, *width);
            let space = " ".repeat(width.saturating_sub(cell.width()));
            match column {
                Column::Right(_) => line.extend([&*space, &cell, "  "]),
                Column::Left(_) => line.extend([&*cell, &space, "  "]),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Takes from the widest texts until all fits, but leaves each some room.
fn fit(columns: &[Column], widths: &mut [usize], width: usize) {
    loop {
        let whole = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        let texts = columns.iter().enumerate().filter(|(_, column)| matches!(column, Column::Left(_)));
        let widest = texts.map(|(at, _)| at).max_by_key(|at| widths[*at]);
        match widest {
            Some(at) if whole > width && widths[at] > LEAST => widths[at] -= 1,
            _ => return,
        }
    }
}

/// The text in so many columns, with a mark where something is missing.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut left = width.saturating_sub(1);
    for char in text.chars() {
        let wide = char.width().unwrap_or(0);
        if wide > left {
            break;
        }
        left -= wide;
        short.push(char);
    }
    short.push('…');
    short
}

/// Columns that every text keeps.
const LEAST: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_and_its_numbers_are_whole() {
        let columns =
            [Column::Right("ID"), Column::Left("TYPE"), Column::Left("PEER"), Column::Right("CALLS")];
        let row = |id: &str, of: &str| {
            vec![id.to_owned(), of.to_owned(), "tcp://1.2.3.4:5".to_owned(), "1234567".to_owned()]
        };
        let rows = vec![row("@1", "Short"), row("@22", "AVeryLongTypeNameThatNobodyReads")];
        assert_eq!(
            table(&columns, rows.clone(), 40),
            " ID  TYPE          PEER            CALLS\n @1  Short         tcp://1.2.3…  1234567\n@22  AVeryLongTy…  tcp://1.2.3…  1234567\n"
        );
        assert!(table(&columns, rows, usize::MAX).contains("AVeryLongTypeNameThatNobodyReads"));
    }

    #[test]
    fn wide_characters_count_as_two() {
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
    }
}
