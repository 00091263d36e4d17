//! Figures, their medians, and the Markdown page that shows them.

use std::fmt::Write as _;

use crate::ledger::Tally;

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Its own id, when it is not that of the scenario.
    pub id: Option<&'static str>,
    /// What was measured, with its unit.
    pub what: String,
    /// Our server, one value a round.
    pub ours: Vec<f64>,
    /// The floor, one value a round.
    pub floor: Vec<f64>,
    /// How the two are compared, round by round.
    pub compare: Compare,
    /// What we want.
    pub aim: Aim,
}

/// How our value is compared with the floor's of the same round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// There is no floor, or it is shown for orientation only.
    No,
    /// Ours divided by the floor's.
    Ratio,
    /// Ours less the floor's.
    Difference,
}

/// A bound on a median, an upper one unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aim {
    /// The figure is shown for orientation.
    None,
    /// On our own value.
    Ours(f64),
    /// On the comparison with the floor.
    Compared(f64),
    /// On the comparison with the floor, and a lower bound.
    AtLeast(f64),
}

impl Figure {
    /// A figure without floor and aim.
    pub fn plain(what: impl Into<String>, ours: Vec<f64>) -> Self {
        Self {
            id: None,
            what: what.into(),
            ours,
            floor: Vec::new(),
            compare: Compare::No,
            aim: Aim::None,
        }
    }

    /// Compared with the floor of the same rounds.
    #[must_use]
    pub fn against(self, floor: Vec<f64>, compare: Compare) -> Self {
        Self {
            floor,
            compare,
            ..self
        }
    }

    /// Under an id of its own.
    #[must_use]
    pub fn called(self, id: &'static str) -> Self {
        Self {
            id: Some(id),
            ..self
        }
    }

    /// With an aim.
    #[must_use]
    pub fn aims(self, aim: Aim) -> Self {
        Self { aim, ..self }
    }

    fn compared(&self) -> Vec<f64> {
        let pairs = self.ours.iter().zip(&self.floor);
        match self.compare {
            Compare::No => Vec::new(),
            Compare::Ratio => pairs.map(|(ours, floor)| ours / floor).collect(),
            Compare::Difference => pairs.map(|(ours, floor)| ours - floor).collect(),
        }
    }

    /// Whether the aim is met; nothing without an aim or a value.
    pub fn meets_aim(&self) -> Option<bool> {
        match self.aim {
            Aim::None => None,
            Aim::Ours(limit) => median(&self.ours).map(|value| value <= limit),
            Aim::Compared(limit) => median(&self.compared()).map(|value| value <= limit),
            Aim::AtLeast(limit) => median(&self.compared()).map(|value| value >= limit),
        }
    }

    fn row(&self, id: &str, clean: bool) -> String {
        let (aim, sign) = match (self.aim, self.compare) {
            (Aim::None, _) => (String::new(), ""),
            (Aim::Ours(limit), _) => (format!("ours ≤ {}", number(limit)), ""),
            (Aim::Compared(limit), Compare::Difference) => {
                (format!("floor + {}", number(limit)), "+")
            }
            (Aim::Compared(limit), _) => (format!("≤ {} x floor", number(limit)), ""),
            (Aim::AtLeast(limit), _) => (format!("≥ {} x floor", number(limit)), ""),
        };
        let sign = if self.compare == Compare::Difference {
            "+"
        } else {
            sign
        };
        let met = match self.meets_aim() {
            _ if !clean => "void",
            None => "",
            Some(true) => "yes",
            Some(false) => "no",
        };
        let floor = median(&self.floor).map(number).unwrap_or_default();
        let id = self.id.unwrap_or(id);
        let (ours, compared) = (spread(&self.ours, ""), spread(&self.compared(), sign));
        format!(
            "| {id} | {} | {ours} | {floor} | {compared} | {aim} | {met} |\n",
            self.what
        )
    }
}

/// What came of one scenario.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Its lines of the table.
    pub figures: Vec<Figure>,
    /// What arrived, over all rounds and both sides.
    pub tally: Tally,
    /// What a reader must know: sizes, shares, what the values include.
    pub notes: Vec<String>,
}

/// The page of one run.
#[derive(Debug, Default)]
pub struct Report {
    /// The lines above the table.
    pub head: Vec<String>,
    /// Scenarios in order; an error is the text of why there is no outcome.
    pub scenarios: Vec<(String, Result<Outcome, String>)>,
}

impl Report {
    /// Whether every scenario ended and delivered everything once and in order.
    pub fn is_clean(&self) -> bool {
        self.scenarios.iter().all(|(_, outcome)| {
            outcome
                .as_ref()
                .is_ok_and(|outcome| outcome.tally.is_clean())
        })
    }

    /// The page.
    pub fn markdown(&self) -> String {
        let mut page = self.head.join("\n");
        page.push_str("\n\n| scenario | figure | ours, median (min to max) | floor | to floor, median (min to max) | aim | met |\n");
        page.push_str("|---|---|---|---|---|---|---|\n");
        for (id, outcome) in &self.scenarios {
            match outcome {
                Ok(outcome) => {
                    let rows = outcome
                        .figures
                        .iter()
                        .map(|figure| figure.row(id, outcome.tally.is_clean()));
                    page.extend(rows);
                }
                Err(_) => {
                    page.extend([format!("| {id} | **failed**, see below | | | | | void |\n")]);
                }
            }
        }
        page.push_str("\nEach round, in order; nothing is left out:\n\n");
        for (id, outcome) in &self.scenarios {
            match outcome {
                Ok(outcome) => rounds(&mut page, id, outcome),
                Err(error) => {
                    page.extend([format!("- {id} **failed**:\n\n```text\n{error}\n```\n\n")]);
                }
            }
        }
        page
    }
}

fn rounds(page: &mut String, id: &str, outcome: &Outcome) {
    let verdict = if outcome.tally.is_clean() {
        ""
    } else {
        " **NOT EVERYTHING WAS DELIVERED ONCE AND IN ORDER**"
    };
    let _ = writeln!(page, "- {id}: {}{verdict}", outcome.tally);
    for note in &outcome.notes {
        let _ = writeln!(page, "  - {note}");
    }
    for figure in &outcome.figures {
        let listed = |values: &[f64]| {
            values
                .iter()
                .copied()
                .map(number)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let _ = write!(page, "  - {}: {}", figure.what, listed(&figure.ours));
        if !figure.floor.is_empty() {
            let _ = write!(page, "; floor {}", listed(&figure.floor));
        }
        page.push('\n');
    }
}

/// The middle value, or the mean of the two middle ones.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

fn spread(values: &[f64], sign: &str) -> String {
    let Some(middle) = median(values) else {
        return String::new();
    };
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let shown = |value: f64| format!("{}{}", if value >= 0.0 { sign } else { "" }, number(value));
    if values.len() == 1 {
        shown(middle)
    } else {
        format!("{} ({} to {})", shown(middle), shown(least), shown(most))
    }
}

/// As many decimals as carry meaning.
pub fn number(value: f64) -> String {
    match value.abs() {
        huge if huge >= 1000.0 => format!("{value:.0}"),
        large if large >= 100.0 => format!("{value:.1}"),
        small if small > 0.0 && small < 0.1 => format!("{value:.4}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure() -> Figure {
        Figure::plain("ns per delivery", vec![20.0, 11.0, 30.0])
            .against(vec![10.0, 10.0, 10.0], Compare::Ratio)
            .aims(Aim::Compared(1.5))
    }

    #[test]
    fn the_ratio_is_the_median_of_the_ratios_of_the_rounds_with_least_and_most() {
        assert!(
            figure()
                .row("F1", true)
                .contains("| 2.00 (1.10 to 3.00) | ≤ 1.50 x floor | no |")
        );
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_figure_of_an_unclean_scenario_is_void() {
        assert!(figure().row("F1", false).ends_with("| void |\n"));
    }

    #[test]
    fn a_difference_shows_its_sign() {
        let figure = Figure::plain("ms", vec![3.0])
            .against(vec![1.0], Compare::Difference)
            .aims(Aim::Compared(2.0));
        assert!(
            figure
                .row("D2", true)
                .contains("| +2.00 | floor + 2.00 | yes |")
        );
    }

    #[test]
    fn a_failed_scenario_and_a_lost_message_make_the_report_unclean() {
        let clean = Report {
            head: vec![],
            scenarios: vec![("F1".into(), Ok(Outcome::default()))],
        };
        assert!(clean.is_clean());
        let failed = Report {
            head: vec![],
            scenarios: vec![("F1".into(), Err("no upgrade".into()))],
        };
        assert!(!failed.is_clean() && failed.markdown().contains("no upgrade"));
        let tally = Tally {
            missing: 1,
            ..Tally::default()
        };
        let lost = Outcome {
            tally,
            ..Outcome::default()
        };
        assert!(
            !Report {
                head: vec![],
                scenarios: vec![("F1".into(), Ok(lost))]
            }
            .is_clean()
        );
    }
}
