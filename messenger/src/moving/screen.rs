//! What an operator sees of long work: a bar on a terminal, plain lines anywhere else.

use std::{
    io::{self, IsTerminal as _, Write},
    time::{Duration, Instant},
};

/// How often a bar is drawn anew.
const REDRAW: Duration = Duration::from_millis(100);
/// How long a full bar is, in characters.
const WIDTH: u64 = 30;

/// Where it is shown. Whoever does not read it does not hold the work up.
pub(crate) struct Screen {
    out: Box<dyn Write + Send>,
    is_terminal: bool,
}

impl Screen {
    /// Standard output.
    pub(crate) fn open() -> Self {
        let out = io::stdout();
        Self {
            is_terminal: out.is_terminal(),
            out: Box::new(out),
        }
    }

    /// Shows a line.
    pub(crate) fn say(&mut self, line: &str) {
        let _ = writeln!(self.out, "{line}");
    }

    /// Begins work on `total` rows.
    pub(super) fn work(&mut self, verb: &'static str, total: u64) -> Work<'_> {
        Work {
            screen: self,
            verb,
            total,
            before: 0,
            drawn: None,
        }
    }
}

/// Work that is under way, part by part.
pub(super) struct Work<'a> {
    screen: &'a mut Screen,
    verb: &'static str,
    total: u64,
    /// Rows of the parts that are done.
    before: u64,
    drawn: Option<Instant>,
}

impl Work<'_> {
    /// So many rows of `part` are done.
    pub(super) fn at(&mut self, part: &str, rows: u64) {
        let is_due = self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW);
        if self.screen.is_terminal && is_due {
            self.draw(part, self.before + rows);
        }
    }

    /// All `rows` of `part` are done; `note` is for whoever reads lines.
    pub(super) fn done(&mut self, part: &str, rows: u64, note: &str) {
        self.before += rows;
        if self.screen.is_terminal {
            self.draw(part, self.before);
        } else if rows > 0 {
            let (verb, done, total) = (self.verb, self.before, self.total);
            self.screen.say(&format!(
                "{verb} {part}: {rows} rows, {done} of {total}{note}"
            ));
        }
    }

    fn draw(&mut self, part: &str, done: u64) {
        self.drawn = Some(Instant::now());
        let share = |whole: u64| (done * whole).checked_div(self.total).unwrap_or(whole);
        let full = share(WIDTH).min(WIDTH);
        let bar: String = (0..WIDTH)
            .map(|n| if n < full { '#' } else { '.' })
            .collect();
        let (verb, percent, total) = (self.verb, share(100), self.total);
        let out = &mut self.screen.out;
        let _ = write!(
            out,
            "\r{verb:<9} [{bar}] {percent:>3} %  {done} of {total} rows  {part}\x1b[K"
        );
        let _ = out.flush();
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            self.screen.say("");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shown(Arc<Mutex<Vec<u8>>>);

    impl Write for Shown {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn shown(is_terminal: bool) -> String {
        let shown = Shown::default();
        let out = Box::new(shown.clone());
        let mut screen = Screen { out, is_terminal };
        let mut work = screen.work("copying", 4);
        work.at("a", 1);
        work.done("a", 1, "");
        work.done("b", 3, ", well");
        work.done("c", 0, "");
        drop(work);
        screen.say("that is all");
        String::from_utf8(shown.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_terminal_has_one_line_that_grows() {
        let text = shown(true);
        let drawn: Vec<_> = text.split('\r').collect();
        assert_eq!(text.matches('\n').count(), 2, "{text:?}");
        assert!(drawn[1].contains("..]  25 %  1 of 4 rows  a"), "{text:?}");
        assert!(
            drawn
                .last()
                .unwrap()
                .contains("[##############################] 100 %  4 of 4 rows  c"),
            "{text:?}"
        );
    }

    #[test]
    fn anything_else_has_a_line_for_each_part() {
        assert_eq!(
            shown(false),
            "copying a: 1 rows, 1 of 4\ncopying b: 3 rows, 4 of 4, well\nthat is all\n"
        );
    }

    #[test]
    fn no_rows_at_all_are_all_of_them() {
        let shown = Shown::default();
        let out = Box::new(shown.clone());
        let mut screen = Screen {
            out,
            is_terminal: true,
        };
        screen.work("copying", 0).done("a", 0, "");
        assert!(String::from_utf8_lossy(&shown.0.lock().unwrap()).contains("100 %"));
    }
}
