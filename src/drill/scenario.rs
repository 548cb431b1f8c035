//! The scenarios of a drill.

use std::fmt;

use clap::ValueEnum;

/// What kind of bad day it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// The provider rotates and takes the older key out later
    Overlap,
    /// The provider rotates and takes the older key out at once, eight times
    HardCut,
    /// The key set and token endpoints fail for most of the time
    JwksOutage,
    /// The provider revokes all tokens, every few seconds
    TokenRevoked,
    /// All of these at random moments
    Storm,
}

impl Scenario {
    /// As on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Overlap => "overlap",
            Self::HardCut => "hard-cut",
            Self::JwksOutage => "jwks-outage",
            Self::TokenRevoked => "token-revoked",
            Self::Storm => "storm",
        }
    }

    /// In a few words.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::Overlap => "rotations with an overlap",
            Self::HardCut => "rotations without an overlap",
            Self::JwksOutage => "key set and token endpoints down, good ones in hand",
            Self::TokenRevoked => "all tokens revoked",
            Self::Storm => "rotations, cuts, outages and revocations at random moments",
        }
    }

    /// Whether the gateway must see changes of the key set without being refused first. Then the
    /// set's lifetime is as short as the drill is.
    pub(super) fn needs_refreshes(self) -> bool {
        match self {
            Self::Overlap | Self::JwksOutage | Self::Storm => true,
            Self::HardCut | Self::TokenRevoked => false,
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
    fn names_are_those_of_the_command_line() {
        for scenario in Scenario::value_variants() {
            assert_eq!(scenario.to_possible_value().unwrap().get_name(), scenario.name());
        }
    }
}
