//! The scenarios of a drill.

use std::fmt;

use clap::ValueEnum;

/// The kind of events in a drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// The provider rotates, and removes the older key later
    Overlap,
    /// The provider rotates and removes the older key at once, eight times
    HardCut,
    /// Hard cuts as in hard-cut, while half of the requests get ordinary 400s
    #[value(name = "noisy-400")]
    Noisy400,
    /// The key set and token endpoints fail during most of the drill
    JwksOutage,
    /// The provider revokes all tokens every few seconds
    TokenRevoked,
    /// All of these events at random times
    Storm,
}

impl Scenario {
    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Overlap => "overlap",
            Self::HardCut => "hard-cut",
            Self::Noisy400 => "noisy-400",
            Self::JwksOutage => "jwks-outage",
            Self::TokenRevoked => "token-revoked",
            Self::Storm => "storm",
        }
    }

    /// A short description.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::Overlap => "rotations with an overlap",
            Self::HardCut => "rotations without an overlap",
            Self::Noisy400 => "rotations without an overlap, and ordinary 400s for half of the requests",
            Self::JwksOutage => "key set and token endpoints down while the gateway has a valid key and token",
            Self::TokenRevoked => "all tokens revoked",
            Self::Storm => "rotations, hard cuts, outages and revocations at random times",
        }
    }

    /// Whether the gateway must notice changes of the key set without a refusal from the provider. Then the
    /// drill shortens the lifetime of the key set.
    pub(super) fn needs_refreshes(self) -> bool {
        match self {
            Self::Overlap | Self::JwksOutage | Self::Storm => true,
            Self::HardCut | Self::Noisy400 | Self::TokenRevoked => false,
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenario_names_match_the_command_line() {
        for scenario in Scenario::value_variants() {
            assert_eq!(scenario.to_possible_value().unwrap().get_name(), scenario.name());
        }
    }
}
