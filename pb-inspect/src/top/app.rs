//! What is on the screen, as a plain value: keys and news come in, what to ask for goes out.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use pb_server::inspect::{About, Query};
use tokio::time::Instant;

use super::ask::{Ask, Body};
use super::poll::News;
use super::rates::Rates;
use super::tab::Tab;
use crate::commands::lists::Listed;
use crate::out::plain;

/// The screen.
pub(super) struct App {
    pub(super) url: String,
    own: bool,
    pub(super) tab: usize,
    pub(super) lists: [List; 4],
    /// What was gone into, the last on top.
    pub(super) details: Vec<Detail>,
    /// What is typed after `/`.
    pub(super) typed: Option<String>,
    pub(super) help: bool,
    pub(super) paused: bool,
    pub(super) standing: Standing,
    /// How long the server may say nothing before that is told.
    pub(super) silent: Duration,
    pub(super) about: Option<About>,
    pub(super) rates: Rates,
    /// What was refused or has failed.
    pub(super) told: Option<String>,
    /// Rows of a list that there is room for.
    room: usize,
}

/// How it stands with the server.
pub(super) enum Standing {
    /// It has answered then.
    There {
        heard: Instant,
    },
    Lost {
        since: Instant,
        why: String,
    },
}

/// A list with what was chosen in it.
pub(super) struct List {
    pub(super) tab: Tab,
    pub(super) sort: usize,
    pub(super) descending: bool,
    pub(super) filter: String,
    /// The row that keys are about, counted from the list's beginning.
    pub(super) chosen: usize,
    /// The first row that is seen.
    pub(super) offset: usize,
    pub(super) rows: Option<Rows>,
}

/// Rows as they came, from `offset` on.
pub(super) struct Rows {
    pub(super) cells: Vec<Vec<String>>,
    leads: Vec<Option<Lead>>,
    pub(super) offset: usize,
    pub(super) total: usize,
}

/// Where a row leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Lead {
    Object(u64),
    Connection(u64),
    /// The calls of a method.
    Method(String),
}

/// One thing with all that there is to know.
pub(super) struct Detail {
    ask: Ask,
    pub(super) body: Option<Body>,
    /// Lines that are above the screen.
    pub(super) above: usize,
}

/// What a key has led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    On,
    Quit,
}

impl App {
    pub(super) fn new(url: &str, own: bool, interval: Duration, now: Instant) -> App {
        let list = |tab: Tab| {
            let (sort, descending) = tab.order();
            List { tab, sort, descending, filter: String::new(), chosen: 0, offset: 0, rows: None }
        };
        App {
            url: plain(url),
            own,
            tab: 0,
            lists: Tab::ALL.map(list),
            details: Vec::new(),
            typed: None,
            help: false,
            paused: false,
            standing: Standing::There { heard: now },
            silent: interval + SILENT,
            about: None,
            rates: Rates::default(),
            told: None,
            room: 1,
        }
    }

    /// How many rows of a list there is room for.
    pub(super) fn resize(&mut self, room: usize) {
        self.room = room.clamp(1, 1000);
        self.lists.iter_mut().for_each(|list| list.choose(list.chosen, self.room));
    }

    pub(super) fn list(&self) -> &List {
        &self.lists[self.tab]
    }

    /// What to ask the server for.
    pub(super) fn ask(&self) -> Ask {
        self.details.last().map_or_else(|| self.list().ask(self.room, self.own), |detail| detail.ask.clone())
    }

    pub(super) fn hear(&mut self, news: News, now: Instant) {
        match news {
            News::Lost(why) => {
                let since = match self.standing {
                    Standing::Lost { since, .. } => since,
                    Standing::There { .. } => now,
                };
                self.standing = Standing::Lost { since, why };
                self.rates.forget();
                return;
            }
            News::Failed(why) => self.told = Some(why),
            News::Head(head, at) => {
                let is_another = |about: &About| {
                    about.process != head.about.process || about.uptime_ms > head.about.uptime_ms
                };
                if self.about.as_ref().is_some_and(is_another) {
                    self.restarted();
                }
                self.about = Some(head.about);
                if !self.paused {
                    self.rates.look(&head.methods, at);
                }
            }
            // What came late is of a screen that has gone.
            News::Body(ask, body) if ask == self.ask() && !self.paused => self.show(body),
            News::Body(..) => {}
        }
        self.standing = Standing::There { heard: now };
    }

    /// It is another server: numbers are others', and what was gone into has gone.
    fn restarted(&mut self) {
        self.details.clear();
        self.rates.forget();
        self.told = Some("the server has been started anew: objects have other numbers".to_owned());
    }

    fn show(&mut self, body: Body) {
        if let Some(detail) = self.details.last_mut() {
            detail.body = Some(body);
            return;
        }
        let list = &mut self.lists[self.tab];
        let rates = &self.rates;
        let rows = match body {
            Body::Objects(rows, total) => {
                Rows::of(&rows, total, list.offset, |row| Some(Lead::Object(row.id)))
            }
            Body::Calls(rows, total) => {
                Rows::of(&rows, total, list.offset, |row| row.object.map(Lead::Object))
            }
            Body::Connections(rows, total) => {
                Rows::of(&rows, total, list.offset, |row| Some(Lead::Connection(row.connection)))
            }
            Body::Methods(rows, total) => {
                let mut shown =
                    Rows::of(&rows, total, list.offset, |row| Some(Lead::Method(row.method.clone())));
                for (cells, row) in shown.cells.iter_mut().zip(&rows) {
                    let rate = rates.of(&row.method);
                    cells.insert(2, rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}")));
                }
                shown
            }
            Body::Refused(why) => {
                self.told = Some(why);
                return;
            }
            Body::Object(_) | Body::Connection(_) => return,
        };
        list.rows = Some(rows);
        list.choose(list.chosen, self.room);
    }

    /// A key was pressed.
    pub(super) fn press(&mut self, key: KeyEvent) -> Next {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && key.code == KeyCode::Char('c') {
            return Next::Quit;
        }
        if self.typed.is_some() {
            self.type_on(key.code);
            return Next::On;
        }
        self.told = None;
        if self.help {
            self.help = false;
            return Next::On;
        }
        match key.code {
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Char('?' | 'h') => self.help = true,
            KeyCode::Char(' ') => self.paused = !self.paused,
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left if self.details.pop().is_some() => {}
            KeyCode::Esc => self.filter(String::new()),
            KeyCode::Tab | KeyCode::Right => self.turn_to((self.tab + 1) % 4),
            KeyCode::BackTab | KeyCode::Left => self.turn_to((self.tab + 3) % 4),
            KeyCode::Char(digit @ '1'..='4') => self.turn_to(digit as usize - '1' as usize),
            KeyCode::Char('/') if self.details.is_empty() => self.typed = Some(self.list().filter.clone()),
            KeyCode::Char('s') if self.details.is_empty() => self.sort_by(1),
            KeyCode::Char('S') if self.details.is_empty() => self.sort_by(self.list().tab.keys().len() - 1),
            KeyCode::Char('r') if self.details.is_empty() => {
                let list = &mut self.lists[self.tab];
                list.descending = !list.descending;
            }
            KeyCode::Enter => self.enter(),
            code => self.go(code),
        }
        Next::On
    }

    fn type_on(&mut self, code: KeyCode) {
        let Some(typed) = &mut self.typed else { return };
        match code {
            KeyCode::Enter => {
                let filter = std::mem::take(typed);
                self.typed = None;
                self.told = None;
                self.filter(filter);
            }
            KeyCode::Esc => self.typed = None,
            KeyCode::Backspace => drop(typed.pop()),
            KeyCode::Char(char) if typed.len() < MOST_TYPED && !char.is_control() => typed.push(char),
            _ => {}
        }
    }

    fn filter(&mut self, filter: String) {
        let list = &mut self.lists[self.tab];
        list.filter = filter.trim().to_owned();
        list.choose_first();
    }

    fn turn_to(&mut self, tab: usize) {
        self.details.clear();
        self.tab = tab;
    }

    fn sort_by(&mut self, further: usize) {
        let list = &mut self.lists[self.tab];
        list.sort = (list.sort + further) % list.tab.keys().len();
        list.choose_first();
    }

    /// Into what the chosen row leads to.
    fn enter(&mut self) {
        if !self.details.is_empty() {
            return;
        }
        let ask = match self.list().lead() {
            None => return,
            Some(Lead::Object(id)) => Ask::Object { id, own: self.own },
            Some(Lead::Connection(number)) => Ask::Connection(number),
            Some(Lead::Method(method)) => {
                self.tab = 1;
                return self.filter(format!("method={method}"));
            }
        };
        self.details.push(Detail { ask, body: None, above: 0 });
    }

    fn go(&mut self, code: KeyCode) {
        let (page, room) = (self.room.max(2) - 1, self.room);
        let moved = |at: usize, last: usize| match code {
            KeyCode::Up | KeyCode::Char('k') => at.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => at.saturating_add(1),
            KeyCode::PageUp => at.saturating_sub(page),
            KeyCode::PageDown => at.saturating_add(page),
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => last,
            _ => at,
        };
        match self.details.last_mut() {
            // Drawing knows where the end is.
            Some(detail) => detail.above = moved(detail.above, usize::MAX),
            None => {
                let list = &mut self.lists[self.tab];
                list.choose(moved(list.chosen, list.total().saturating_sub(1)), room);
            }
        }
    }
}

impl List {
    fn total(&self) -> usize {
        self.rows.as_ref().map_or(0, |rows| rows.total)
    }

    /// Chooses a row, so that it is seen.
    fn choose(&mut self, row: usize, room: usize) {
        self.chosen = row.min(self.total().saturating_sub(1));
        let first = (self.chosen + 1).saturating_sub(room);
        self.offset = self.offset.clamp(first, self.chosen);
    }

    fn choose_first(&mut self) {
        (self.chosen, self.offset) = (0, 0);
    }

    /// Where the chosen row leads to, if it is here.
    fn lead(&self) -> Option<Lead> {
        let rows = self.rows.as_ref()?;
        rows.leads.get(self.chosen.checked_sub(rows.offset)?)?.clone()
    }

    fn ask(&self, room: usize, own: bool) -> Ask {
        let key = self.tab.keys()[self.sort];
        let sort = if self.descending { format!("-{key}") } else { key.to_owned() };
        let query = Query {
            filter: self.tab.conditions(&self.filter),
            sort: Some(sort),
            offset: self.offset as u64,
            limit: u32::try_from(room).unwrap_or(u32::MAX),
            own,
        };
        Ask::List { tab: self.tab, query }
    }
}

impl Rows {
    fn of<R: Listed>(rows: &[R], total: u64, offset: usize, lead: impl Fn(&R) -> Option<Lead>) -> Rows {
        Rows {
            cells: rows.iter().map(R::cells).collect(),
            leads: rows.iter().map(lead).collect(),
            offset,
            total: usize::try_from(total).unwrap_or(usize::MAX),
        }
    }
}

/// How long an answer may take before that is told.
const SILENT: Duration = Duration::from_secs(3);
/// Bytes that a filter may have.
const MOST_TYPED: usize = 200;
