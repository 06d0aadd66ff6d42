//! How the screen looks.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Sparkline};
use tokio::time::Instant;

use super::app::{App, Detail, Standing};
use super::ask::{Body, Visitor};
use super::rates::Moment;
use super::tab::Tab;
use crate::commands::lists::Listed;
use crate::commands::show::{branch_lines, shown};
use crate::out::{micros, plain, time};
use crate::table::{cut, table};

/// Lines around a list: what stands above it with its heads, and the line below.
pub(super) const AROUND: u16 = 7;

pub(super) fn draw(frame: &mut Frame<'_>, app: &mut App, now: Instant) {
    let area = frame.area();
    app.resize(usize::from(area.height.saturating_sub(AROUND)));
    let [head, words, sparks, tabs, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_head(frame, head, app, now);
    draw_rates(frame, words, sparks, app);
    draw_tabs(frame, tabs, app);
    match app.details.last_mut() {
        _ if app.help => frame.render_widget(Paragraph::new(HELP), body),
        Some(detail) => draw_detail(frame, body, detail),
        None => draw_list(frame, body, app),
    }
    draw_foot(frame, foot, app);
}

/// Two texts, the second at the end of the line.
fn draw_ends(frame: &mut Frame<'_>, area: Rect, left: &str, right: Span<'_>) {
    let width = usize::from(area.width);
    let right_width = right.width().min(width);
    let left = cut(left, width.saturating_sub(right_width + 1));
    let gap = width.saturating_sub(Span::raw(&left).width() + right_width);
    let line = Line::from(vec![Span::raw(left), Span::raw(" ".repeat(gap)), right]);
    frame.render_widget(Paragraph::new(line), area);
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, app: &App, now: Instant) {
    let ago = |then: Instant| u64::try_from((now - then).as_millis()).unwrap_or(u64::MAX);
    let width = usize::from(area.width);
    let standing = match &app.standing {
        Standing::Lost { since, why } => {
            let words = format!("LOST for {}, connecting again: {why}", seconds(ago(*since)));
            Span::styled(cut(&words, width * 3 / 4), Style::new().fg(Color::Red).add_modifier(Modifier::BOLD))
        }
        Standing::There { heard } if now - *heard > app.silent => {
            Span::styled(format!("no answer for {}", seconds(ago(*heard))), Style::new().fg(Color::Yellow))
        }
        Standing::There { .. } if app.paused => Span::styled("paused", Style::new().fg(Color::Yellow)),
        Standing::There { .. } => Span::raw(""),
    };
    let server = app.about.as_ref().map_or_else(String::new, |about| {
        format!("  process {}, up {}, {} connected", about.process, time(about.uptime_ms), about.open)
    });
    draw_ends(frame, area, &format!("pb top {}{server}", app.url), standing);
}

/// Whole seconds: what is told of a silence need not be exact.
fn seconds(ms: u64) -> String {
    time(ms / 1000 * 1000).replace(".0s", "s").replace("0ms", "0s")
}

fn draw_rates(frame: &mut Frame<'_>, words: Rect, sparks: Rect, app: &App) {
    let halves = Layout::horizontal([Constraint::Fill(1), Constraint::Length(2), Constraint::Fill(1)]);
    let ([left, _, right], [calls, _, times]) = (halves.areas(words), halves.areas(sparks));
    let last = app.rates.last();
    let rate = last.map_or_else(|| "-".to_owned(), |last| format!("{:.0}", last.calls_per_second));
    let or_none = |us: Option<u64>| us.map_or_else(|| "-".to_owned(), micros);
    let (p50, p99) = last.map_or((None, None), |last| (last.p50_us, last.p99_us));
    frame.render_widget(Paragraph::new(format!("calls/s {rate}")), left);
    frame.render_widget(
        Paragraph::new(format!("answered in: p50 {}, p99 {}", or_none(p50), or_none(p99))),
        right,
    );
    let many = |moment: &Moment| Some(moment.calls_per_second.round() as u64);
    draw_spark(frame, calls, app, Color::Green, many);
    draw_spark(frame, times, app, Color::Cyan, |moment| moment.p99_us);
}

fn draw_spark(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    color: Color,
    of: impl Fn(&Moment) -> Option<u64>,
) {
    let width = usize::from(area.width);
    let data: Vec<Option<u64>> = app.rates.past(width).map(of).collect();
    // The newest stands at the right.
    let empty = std::iter::repeat_n(None, width - data.len().min(width));
    let data: Vec<Option<u64>> = empty.chain(data).collect();
    frame.render_widget(Sparkline::default().data(data).style(Style::new().fg(color)), area);
}

fn draw_tabs(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let mut spans = Vec::new();
    for (at, tab) in Tab::ALL.into_iter().enumerate() {
        let style = match at == app.tab {
            true => Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD),
            false => Style::new(),
        };
        spans.push(Span::styled(format!(" {} {} ", at + 1, tab.title()), style));
    }
    let list = app.list();
    let way = if list.descending { "largest first" } else { "smallest first" };
    let sorted = format!("  by {}, {way}", list.tab.keys()[list.sort]);
    let filter = if list.filter.is_empty() { String::new() } else { format!("  /{}", list.filter) };
    let used: usize = spans.iter().map(Span::width).sum();
    let left = usize::from(area.width).saturating_sub(used);
    spans.push(Span::raw(cut(&format!("{sorted}{}", plain(&filter)), left)));
    frame.render_widget(Paragraph::new(Line::from(spans)), area);
}

fn draw_list(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let list = app.list();
    let Some(rows) = &list.rows else {
        return frame.render_widget(Paragraph::new("asking …"), area);
    };
    if rows.cells.is_empty() {
        return frame.render_widget(Paragraph::new(list.tab.none()), area);
    }
    let text = table(list.tab.columns(), rows.cells.clone(), usize::from(area.width));
    let old = matches!(app.standing, Standing::Lost { .. });
    let style = |at: usize| match at.checked_sub(1) {
        None => Style::new().add_modifier(Modifier::BOLD),
        Some(row) if rows.offset + row == list.chosen => Style::new().add_modifier(Modifier::REVERSED),
        Some(_) if old => Style::new().add_modifier(Modifier::DIM),
        Some(_) => Style::new(),
    };
    let width = usize::from(area.width);
    // The chosen row is marked over its whole width.
    let line = |(at, line): (usize, &str)| Line::styled(format!("{line:<width$}"), style(at));
    frame.render_widget(Paragraph::new(text.lines().enumerate().map(line).collect::<Vec<_>>()), area);
}

fn draw_detail(frame: &mut Frame<'_>, area: Rect, detail: &mut Detail) {
    let width = usize::from(area.width);
    let text = match &detail.body {
        None => "asking …".to_owned(),
        Some(Body::Object(object)) => shown(object, width),
        Some(Body::Connection(visitor)) => visited(visitor, width),
        Some(Body::Refused(why)) => why.clone(),
        Some(_) => String::new(),
    };
    detail.above = detail.above.min(text.lines().count().saturating_sub(usize::from(area.height)));
    let lines: Vec<Line<'_>> = text.lines().skip(detail.above).map(Line::raw).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

/// A connection with what it holds and waits for.
fn visited(visitor: &Visitor, width: usize) -> String {
    use pb_server::inspect::{CallRow, ConnectionRow};
    let mut text = table(ConnectionRow::COLUMNS, vec![visitor.row.cells()], width);
    text.push_str("\nholds\n");
    match &visitor.holds {
        Some(branch) => text.push_str(&branch_lines(branch, width)),
        None => text.push_str("nothing\n"),
    }
    text.push_str("\ncalls in flight\n");
    match visitor.calls.is_empty() {
        true => text.push_str("none\n"),
        false => {
            text.push_str(&table(CallRow::COLUMNS, visitor.calls.iter().map(CallRow::cells).collect(), width))
        }
    }
    text
}

fn draw_foot(frame: &mut Frame<'_>, area: Rect, app: &App) {
    if let Some(typed) = &app.typed {
        let words = format!("filter (KEY=TEXT, KEY>NUMBER or a word; Enter, Esc): {typed}█");
        return frame.render_widget(Paragraph::new(plain(&words)), area);
    }
    if let Some(told) = &app.told {
        let style = Style::new().fg(Color::Yellow);
        return frame
            .render_widget(Paragraph::new(Line::styled(cut(&plain(told), area.width.into()), style)), area);
    }
    let place = match (app.details.is_empty(), &app.list().rows) {
        (true, Some(rows)) if rows.total > 0 => format!("{} of {}", app.list().chosen + 1, rows.total),
        _ => String::new(),
    };
    let keys = match app.details.is_empty() {
        true => "q quit  Tab list  Enter show  s sort  r reverse  / filter  ? help",
        false => "q quit  Esc back  ↑↓ scroll  ? help",
    };
    draw_ends(frame, area, keys, Span::raw(place));
}

const HELP: &str = "Tab, 1 2 3 4     objects, calls, connections, methods
↑ ↓ PgUp PgDn    another row; Home and End the first and the last
Enter            an object, a connection and what it holds, a method's calls
Esc              back; in a list, no filter any more
s S              sorts by the next key, by the one before
r                the other way round
/                filters: KEY=TEXT  KEY!=TEXT  KEY~PART  KEY>NUMBER  or a word
space            holds the screen as it is
q                ends

A list that takes the server long is asked for rarely, so that looking
takes little of the server's time. Press any key.";
