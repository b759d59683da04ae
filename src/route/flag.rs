//! Which variant: prerequisites, cohorts in their order, then the split. The same for a request and for an
//! application that asks.

use std::sync::Arc;

use serde_json::Value as Json;
use smallvec::SmallVec;

use super::cohort::Cohort;
use super::facts::{Facts, Origin};
use super::key::{Key, RouteKey, bucket_of_draw, bucket_of_hash};
use super::split::Split;
use super::sticky::{Sticky, Stuck};
use super::table::Table;
use crate::name::Name;

/// How one route's requests, or one application's users, divide among variants; ready to serve.
#[derive(Debug)]
pub struct Flag {
    /// How applications call it.
    pub key: Name,
    /// What keeps a user on one side; `None`: each request draws anew.
    pub rule: Option<RouteKey>,
    /// Off: the default variant for everybody. Then cohorts and prerequisites are not here, and the split is
    /// the default's alone.
    pub enabled: bool,
    /// The variant of those whom the flag is not for.
    pub default: usize,
    /// All of these, else the default variant.
    pub prerequisites: Box<[Prerequisite]>,
    /// Tried in order, before the split. Those of an aborted canary are not here.
    pub cohorts: Box<[Arc<Cohort>]>,
    /// Which variant owns which buckets.
    pub split: Split,
    /// For those without a key.
    pub sticky: Option<Arc<Sticky>>,
    /// Of the variants, in file order.
    pub names: SmallVec<[Name; 2]>,
    /// What the variants mean to applications, in file order; `None`: their names.
    pub values: Option<Arc<[Json]>>,
    /// Whether claims of a token matter, here or in a prerequisite.
    pub asks_claims: bool,
}

/// Another flag, and what it must answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prerequisite {
    /// The other flag.
    pub flag: FlagId,
    /// Index in its variants.
    pub variant: usize,
}

/// Where a flag stands in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlagId {
    /// The split of the route with this index.
    Route(usize),
    /// The flag with this index among those without a route.
    Own(usize),
}

/// What a flag answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Index in its variants.
    pub variant: usize,
    /// By what rule.
    pub why: Why,
    /// The hash of the key, or the draw of a sticky cookie; `None`: there was neither.
    pub hash: Option<u32>,
    /// The bucket in which who asks was placed, `0..1_000_000`.
    pub bucket: u32,
    /// Chance decided: who asks again may get another answer.
    pub by_chance: bool,
    /// A cookie with this draw is to be set.
    pub cookie: Option<u32>,
}

/// By what rule a variant was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The flag is off.
    Disabled,
    /// The prerequisite with this index does not answer as it must.
    Prerequisite(usize),
    /// The cohort with this index.
    Cohort(usize),
    /// The weights.
    Split,
}

impl Decision {
    /// The draw that the flags are asked with that this one leans on, which was asked with `draw`. Who has no key where
    /// they look for one is drawn there as here, so that who asks again is told the same.
    #[must_use]
    pub fn draw_of_others(&self, draw: u64) -> u64 {
        self.hash.map_or(draw, |hash| u64::from(hash) << 32)
    }
}

impl Flag {
    fn hash_of(&self, key: Option<&Key<'_>>) -> Option<u32> {
        Some(self.rule.as_ref()?.hash_of(key?))
    }

    /// The draw of the cookie that is to be set: of one that grows old, or of who was drawn and has none.
    fn cookie(&self, stuck: Option<Stuck>, is_drawn: bool, draw: u64) -> Option<u32> {
        let cookie = match stuck {
            Some(stuck) => stuck.is_old.then_some(stuck.draw),
            None => is_drawn.then_some((draw >> 32) as u32),
        };
        cookie.filter(|_| self.sticky.is_some())
    }

    fn stuck(&self, facts: &impl Facts) -> Option<Stuck> {
        let sticky = self.sticky.as_ref()?;
        let mut stuck = None;
        facts.any(Origin::Cookie, sticky.name(), |value| {
            stuck = sticky.open(value, facts.now_s());
            stuck.is_some()
        });
        stuck
    }
}

impl Table {
    /// The flag at `id`.
    ///
    /// # Panics
    /// When the table has no such flag.
    #[must_use]
    pub fn flag(&self, id: FlagId) -> &Flag {
        match id {
            FlagId::Route(route) => &self.routes[route].flag,
            FlagId::Own(own) => &self.flags[own],
        }
    }

    /// What `flag` answers to who asks. `draw` is uniform and fresh. Pure; does not allocate but for long
    /// parameters of a query. Prerequisites are asked with the same facts; the configuration bounds their number.
    #[must_use]
    pub fn decide(&self, flag: &Flag, facts: &impl Facts, draw: u64) -> Decision {
        let key = flag.rule.as_ref().and_then(|rule| rule.spec().key_of(facts));
        let stuck = if key.is_none() { flag.stuck(facts) } else { None };
        let hash = flag.hash_of(key.as_ref()).or_else(|| stuck.map(|stuck| stuck.draw));
        let bucket = hash.map_or_else(|| bucket_of_draw(draw), bucket_of_hash);
        let decision = Decision {
            variant: flag.default,
            why: Why::Disabled,
            hash,
            bucket,
            by_chance: false,
            cookie: None,
        };
        if !flag.enabled {
            return decision;
        }
        let chance = decision.draw_of_others(draw);
        let mut by_chance = false;
        if let Some(unmet) = self.unmet(&flag.prerequisites, facts, chance, &mut by_chance) {
            return Decision {
                why: Why::Prerequisite(unmet),
                by_chance: by_chance && hash.is_none(),
                ..decision
            };
        }
        for (index, cohort) in flag.cohorts.iter().enumerate() {
            let holds = cohort.holds(facts, key.as_ref());
            if holds
                && self
                    .unmet(&cohort.prerequisites, facts, chance, &mut by_chance)
                    .is_none()
            {
                let is_drawn = hash.is_none() && cohort.divides();
                return Decision {
                    variant: cohort.variant_of(bucket),
                    why: Why::Cohort(index),
                    by_chance: (by_chance && hash.is_none()) || is_drawn,
                    cookie: flag.cookie(stuck, is_drawn, draw),
                    ..decision
                };
            }
        }
        let is_drawn = hash.is_none() && !flag.split.is_whole();
        Decision {
            variant: flag.split.variant_of(bucket),
            why: Why::Split,
            by_chance: (by_chance && hash.is_none()) || is_drawn,
            cookie: flag.cookie(stuck, is_drawn, draw),
            ..decision
        }
    }

    /// The first of `prerequisites` that does not answer as it must.
    fn unmet(
        &self,
        prerequisites: &[Prerequisite],
        facts: &impl Facts,
        draw: u64,
        by_chance: &mut bool,
    ) -> Option<usize> {
        prerequisites.iter().position(|prerequisite| {
            let answer = self.decide(self.flag(prerequisite.flag), facts, draw);
            *by_chance |= answer.by_chance;
            answer.variant != prerequisite.variant
        })
    }
}

#[cfg(test)]
mod tests;
