//! The terminal while a run goes on: a screen that is redrawn with each view, and its keys.
//!
//! It is drawn on stderr, so that stdout stays the result's, in the terminal's other buffer, so that what was there before
//! is there after. The keys ask for what Ctrl-C asks for.

use std::{
    io::{self, IsTerminal, Stderr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use metrics::Live;
use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};
use report::{Palette, draw_screen};
use tokio::sync::{mpsc, watch};

use crate::told;

/// How long a key may wait, and the thread that reads them after the screen's end.
const KEYS_EVERY: Duration = Duration::from_millis(100);
/// Messages that may be wanted for a screen.
const MESSAGES: usize = 5;

/// A screen owns the terminal.
static OPEN: AtomicBool = AtomicBool::new(false);

/// Whether there is a terminal that a screen can be drawn on and keys be read from.
pub(crate) fn is_possible() -> bool {
    let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
    io::stderr().is_terminal() && io::stdin().is_terminal() && !dumb
}

/// As <https://no-color.org> asks for.
fn palette() -> Palette {
    match std::env::var_os("NO_COLOR") {
        Some(set) if !set.is_empty() => Palette::Plain,
        Some(_) | None => Palette::Colours,
    }
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// An end, with open requests followed.
    Stop,
    /// An end at once.
    Abort,
    /// What Ctrl-C asks for, which a terminal with keys does not turn into a signal.
    Interrupt,
    /// The terminal has another size.
    Redraw,
}

/// Owns the terminal; gives it back when it is dropped.
struct Screen {
    terminal: Terminal<CrosstermBackend<Stderr>>,
}

impl Screen {
    fn open() -> io::Result<Self> {
        enable_raw_mode()?;
        OPEN.store(true, Ordering::SeqCst);
        told::hold();
        let opened = execute!(io::stderr(), EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stderr())));
        match opened {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                leave();
                Err(error)
            }
        }
    }

    fn draw(&mut self, live: &Live) -> io::Result<()> {
        let messages = told::last(MESSAGES);
        let _ = self.terminal.draw(|frame| draw_screen(frame, live, &messages, palette()))?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// Gives the terminal back, if a screen has it.
pub(crate) fn leave() {
    if OPEN.swap(false, Ordering::SeqCst) {
        let _ = execute!(io::stderr(), LeaveAlternateScreen);
        let _ = ratatui::crossterm::execute!(io::stderr(), ratatui::crossterm::cursor::Show);
        let _ = disable_raw_mode();
        told::release();
    }
}

/// Draws each view until the run is over, and carries out what keys ask for. `interrupt` asks the run for an end: the
/// first time with a drain, the second time at once.
pub(crate) async fn show(
    mut views: watch::Receiver<Arc<Live>>,
    interrupt: impl Fn() + Send + 'static,
) -> io::Result<()> {
    let mut screen = Screen::open()?;
    let mut wishes = keys();
    loop {
        let live = Arc::clone(&views.borrow_and_update());
        screen.draw(&live)?;
        tokio::select! {
            changed = views.changed() => if changed.is_err() { return Ok(()) },
            wish = wishes.recv() => obey(wish, &interrupt)?,
        }
    }
}

fn obey(wish: Option<Wish>, interrupt: &impl Fn()) -> io::Result<()> {
    match wish {
        Some(Wish::Stop) => {
            told::tell("stopping: open requests are followed to their end; a cancels them");
            interrupt();
        }
        Some(Wish::Abort) => {
            told::tell("cancelling open requests");
            interrupt();
            interrupt();
        }
        Some(Wish::Interrupt) => {
            use rustix::process::{Signal, getpid, kill_process};
            kill_process(getpid(), Signal::INT)?;
        }
        Some(Wish::Redraw) => {}
        None => return Err(io::Error::other("the terminal's keys cannot be read")),
    }
    Ok(())
}

/// Reads the terminal in a thread of its own, which ends when nobody listens.
fn keys() -> mpsc::UnboundedReceiver<Wish> {
    let (tell, told) = mpsc::unbounded_channel();
    let _reader = std::thread::Builder::new().name("keys".to_owned()).spawn(move || {
        let mut stopping = false;
        while !tell.is_closed() {
            match event::poll(KEYS_EVERY) {
                Ok(false) => continue,
                Ok(true) => {}
                Err(_) => return,
            }
            let Ok(event) = event::read() else { return };
            let Some(wish) = wish(&event) else { continue };
            // Asking twice for a drain would be asking for an abort.
            let again = wish == Wish::Stop && std::mem::replace(&mut stopping, true);
            if !again && tell.send(wish).is_err() {
                return;
            }
        }
    });
    told
}

fn wish(event: &Event) -> Option<Wish> {
    match event {
        Event::Resize(..) => Some(Wish::Redraw),
        Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) => match code {
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => {
                Some(Wish::Interrupt)
            }
            KeyCode::Char('q') => Some(Wish::Stop),
            KeyCode::Char('a') => Some(Wish::Abort),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn key(code: char, modifiers: KeyModifiers) -> Event {
        Event::Key(KeyEvent::new(KeyCode::Char(code), modifiers))
    }

    #[test]
    fn keys_ask_for_an_end() {
        assert_eq!(wish(&key('q', KeyModifiers::NONE)), Some(Wish::Stop));
        assert_eq!(wish(&key('a', KeyModifiers::NONE)), Some(Wish::Abort));
        assert_eq!(wish(&key('c', KeyModifiers::CONTROL)), Some(Wish::Interrupt));
        assert_eq!(wish(&key('c', KeyModifiers::NONE)), None);
        assert_eq!(wish(&Event::Resize(80, 24)), Some(Wish::Redraw));
    }

    #[test]
    fn an_abort_is_asked_for_whatever_was_asked_before() {
        let asked = Cell::new(0);
        let interrupt = || asked.set(asked.get() + 1);
        obey(Some(Wish::Stop), &interrupt).unwrap();
        assert_eq!(asked.get(), 1);
        obey(Some(Wish::Abort), &interrupt).unwrap();
        assert_eq!(asked.get(), 3);
        assert!(obey(None, &interrupt).is_err(), "without keys there is no screen");
    }
}
