//! When a connection is asked for a sign of life, and when it is given up. Pure arithmetic.

use crate::Config;

/// The times of one connection, in milliseconds of its hub; 0 = never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pulse {
    /// Bytes last left for the client.
    pub(crate) sent: u64,
    /// Bytes last came from the client.
    pub(crate) received: u64,
    /// The heartbeat that waits for a sign of life.
    pub(crate) asked: u64,
    /// Bytes wait since then and none was taken.
    pub(crate) blocked: u64,
    /// Closing is given up then.
    pub(crate) close_by: u64,
}

/// What has to be done for a connection now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Fine,
    /// Send a heartbeat.
    Ask,
    /// It gives no sign of life.
    Lost,
    /// It takes no bytes.
    Stalled,
    /// It had the time to close.
    GiveUp,
}

impl Pulse {
    /// The verdict at `now`, and when to look again at the latest.
    pub(crate) fn check(self, now: u64, config: &Config) -> (Verdict, u64) {
        let ms =
            |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        if self.close_by > 0 {
            let verdict = if now >= self.close_by {
                Verdict::GiveUp
            } else {
                Verdict::Fine
            };
            return (verdict, self.close_by);
        }
        let stall = if self.blocked > 0 {
            self.blocked + ms(config.stall_timeout)
        } else {
            u64::MAX
        };
        if now >= stall {
            return (Verdict::Stalled, now);
        }
        if self.asked > 0 && self.received < self.asked {
            let lost = self.asked + ms(config.heartbeat_timeout);
            return if now >= lost {
                (Verdict::Lost, now)
            } else {
                (Verdict::Fine, lost.min(stall))
            };
        }
        let silent = self.sent + ms(config.heartbeat);
        if now >= silent {
            (
                Verdict::Ask,
                (now + ms(config.heartbeat_timeout)).min(stall),
            )
        } else {
            (Verdict::Fine, silent.min(stall))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pulse: Pulse, now: u64) -> (Verdict, u64) {
        pulse.check(now, &Config::default())
    }

    /// row:D14: 25 s of silence bring a heartbeat, 10 s without a sign of life end the connection.
    #[test]
    fn a_silent_connection_is_asked_and_then_given_up() {
        let mut pulse = Pulse {
            sent: 1_000,
            received: 500,
            ..Pulse::default()
        };
        assert_eq!(check(pulse, 25_900), (Verdict::Fine, 26_000));
        assert_eq!(check(pulse, 26_000), (Verdict::Ask, 36_000));
        pulse.asked = 26_000;
        pulse.sent = 30_000;
        assert_eq!(
            check(pulse, 35_900),
            (Verdict::Fine, 36_000),
            "what is sent meanwhile changes nothing"
        );
        assert_eq!(check(pulse, 36_000), (Verdict::Lost, 36_000));
        pulse.received = 26_000;
        assert_eq!(
            check(pulse, 36_000),
            (Verdict::Fine, 55_000),
            "any frame is a sign of life"
        );
    }

    /// row:D13: a client that takes nothing for 30 s is closed although it is otherwise alive.
    #[test]
    fn a_stalled_connection_is_found() {
        let pulse = Pulse {
            sent: 10_000,
            received: 40_000,
            blocked: 10_000,
            ..Pulse::default()
        };
        assert_eq!(check(pulse, 20_000), (Verdict::Fine, 35_000));
        assert_eq!(
            check(
                Pulse {
                    asked: 35_000,
                    ..pulse
                },
                39_000
            )
            .1,
            40_000
        );
        assert_eq!(check(pulse, 40_000), (Verdict::Stalled, 40_000));
        assert_eq!(
            check(
                Pulse {
                    close_by: 45_000,
                    ..pulse
                },
                45_000
            ),
            (Verdict::GiveUp, 45_000)
        );
    }
}
