//! Log lines that anybody can cause by connecting: a bounded number a second, over all doors.

use crate::limits::LINES_A_SECOND;
use parking_lot::Mutex;
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// How long lines are counted together.
const WINDOW: Duration = Duration::from_secs(1);

static NOISE: Noise =
    Noise { state: Mutex::new(State { began: None, said: 0, left_out: Vec::new() }) };

/// Whether a line about a connection may be written now. `what` says in the plural what it is
/// about: if the line is left out, one line tells a second later how many were.
pub fn may_say(what: &'static str) -> bool {
    match NOISE.ask(what, Instant::now()) {
        Answer::Say => true,
        Answer::LeaveOut => false,
        Answer::LeaveOutAndSum => {
            // Without a runtime there are no connections either.
            if let Ok(runtime) = Handle::try_current() {
                runtime.spawn(async {
                    tokio::time::sleep(WINDOW).await;
                    let left_out = NOISE.sum();
                    tracing::warn!(
                        "more log lines than are written in a second; left out: {left_out}"
                    );
                });
            }
            false
        }
    }
}

/// What was said and left out in the current window.
#[derive(Debug, Default)]
pub(crate) struct Noise {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    began: Option<Instant>,
    said: usize,
    /// Since the last sum. As many entries as there are kinds of lines.
    left_out: Vec<(&'static str, u64)>,
}

/// What is to become of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Say,
    LeaveOut,
    /// The first one that is left out: who asked sees to it that the sum is told.
    LeaveOutAndSum,
}

impl Noise {
    pub(crate) fn ask(&self, what: &'static str, now: Instant) -> Answer {
        let mut state = self.state.lock();
        if state.began.is_none_or(|began| now.duration_since(began) >= WINDOW) {
            state.began = Some(now);
            state.said = 0;
        }
        if state.said < LINES_A_SECOND {
            state.said += 1;
            return Answer::Say;
        }
        let is_first = state.left_out.is_empty();
        match state.left_out.iter_mut().find(|(known, _)| *known == what) {
            Some((_, count)) => *count += 1,
            None => state.left_out.push((what, 1)),
        }
        if is_first { Answer::LeaveOutAndSum } else { Answer::LeaveOut }
    }

    /// What was left out since the last sum.
    pub(crate) fn sum(&self) -> String {
        let left_out = std::mem::take(&mut self.state.lock().left_out);
        let mut text = String::new();
        for (what, count) in left_out {
            let comma = if text.is_empty() { "" } else { ", " };
            // Writing into a String cannot fail.
            _ = write!(text, "{comma}{count} about {what}");
        }
        text
    }
}
