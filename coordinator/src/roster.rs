//! Who is in the fleet.
//!
//! A place is an ordinal; it is held by one incarnation at a time. Ranks are the positions of the
//! ordinals in rising order, fixed when the run is assigned, so ordinals may have holes.

use std::{collections::BTreeMap, num::NonZeroU32};

use protocol::{Assigned, Hello, PROTOCOL_VERSION, Refusal, WorkerId};
use workload::Shard;

/// How far a member has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Registered.
    Joined,
    /// Has its plan.
    Assigned,
    /// Will start.
    Armed,
    /// Its last delta is on disk.
    Complete,
    /// Unheard for too long, or gone: its books end here, for good.
    Lost,
}

/// One worker.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its place and incarnation.
    pub id: WorkerId,
    /// Host or pod name.
    pub host: String,
    /// How far it has come.
    pub standing: Standing,
    /// What it said about its inputs.
    pub assigned: Option<Assigned>,
    /// Coordinator's clock minus the worker's and its error, nanoseconds.
    pub clock: Option<(i64, u64)>,
}

/// All members by ordinal.
#[derive(Clone, Debug)]
pub struct Roster {
    expected: NonZeroU32,
    build: String,
    members: BTreeMap<u32, Member>,
}

impl Roster {
    /// An empty fleet that is complete with `expected` workers of the same build.
    #[must_use]
    pub fn new(expected: NonZeroU32, build: String) -> Self {
        Self { expected, build, members: BTreeMap::new() }
    }

    /// Gives a place, or says in words why not.
    ///
    /// # Errors
    /// Another protocol or build; an ordinal that is held by somebody else; a full fleet.
    pub fn admit(&mut self, hello: &Hello) -> Result<u32, Refusal> {
        if hello.protocol != PROTOCOL_VERSION {
            return Err(Refusal::for_good(format!(
                "protocol {} does not match the coordinator's {PROTOCOL_VERSION}: use the same release everywhere",
                hello.protocol
            )));
        }
        if hello.build != self.build {
            return Err(Refusal::for_good(format!(
                "build {} does not match the coordinator's {}: use the same image everywhere",
                hello.build, self.build
            )));
        }
        if let Some(known) = self.members.values().find(|m| m.id.incarnation == hello.incarnation) {
            return Ok(known.id.ordinal);
        }
        if self.is_full() {
            return Err(Refusal::for_good(format!("all {} workers are here", self.expected)));
        }
        let ordinal = match hello.ordinal {
            Some(claimed) if self.members.contains_key(&claimed) => {
                return Err(Refusal::for_good(format!(
                    "ordinal {claimed} is held by another worker"
                )));
            }
            Some(claimed) => claimed,
            None => self.first_free(),
        };
        let id = WorkerId { ordinal, incarnation: hello.incarnation };
        let member = Member {
            id,
            host: hello.host.clone(),
            standing: Standing::Joined,
            assigned: None,
            clock: None,
        };
        self.members.insert(ordinal, member);
        Ok(ordinal)
    }

    fn first_free(&self) -> u32 {
        (0..).find(|ordinal| !self.members.contains_key(ordinal)).unwrap_or(u32::MAX)
    }

    /// Whether everybody who is expected has come.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.members.len() >= self.expected.get() as usize
    }

    /// The members in order of their ordinals, which is the order of their ranks.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// How many are here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// How many are here and not lost.
    #[must_use]
    pub fn heard(&self) -> usize {
        self.members.values().filter(|member| member.standing != Standing::Lost).count()
    }

    /// Whether nobody is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Each member with its part of the load.
    #[must_use]
    pub fn shards(&self) -> Vec<(WorkerId, Shard)> {
        let count = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        let Some(count) = NonZeroU32::new(count) else { return Vec::new() };
        self.members.values().map(|member| member.id).zip(Shard::split(count)).collect()
    }

    /// The member with this identity; `None` for another incarnation of its ordinal.
    pub fn member_mut(&mut self, id: WorkerId) -> Option<&mut Member> {
        self.members.get_mut(&id.ordinal).filter(|member| member.id == id)
    }

    /// Moves a member on; `false` when there is none, or when it has been there before.
    pub fn advance(&mut self, id: WorkerId, standing: Standing) -> bool {
        match self.member_mut(id) {
            Some(member) if member.standing < standing => {
                member.standing = standing;
                true
            }
            Some(_) | None => false,
        }
    }

    /// As [`Self::advance`], for a member that has neither completed nor been lost.
    pub fn advance_open(&mut self, id: WorkerId, standing: Standing) -> bool {
        let open = self.member_mut(id).is_some_and(|member| member.standing < Standing::Complete);
        open && self.advance(id, standing)
    }

    /// Whether every member has come at least this far; the lost ones are not waited for.
    #[must_use]
    pub fn all(&self, standing: Standing) -> bool {
        self.members.values().all(|member| member.standing >= standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(ordinal: Option<u32>, incarnation: u64) -> Hello {
        Hello {
            protocol: PROTOCOL_VERSION,
            build: "b".to_owned(),
            ordinal,
            incarnation,
            host: "h".to_owned(),
            processors: 1,
            epoch: 0,
        }
    }

    fn roster(expected: u32) -> Roster {
        Roster::new(NonZeroU32::new(expected).unwrap(), "b".to_owned())
    }

    #[test]
    fn a_worker_without_an_ordinal_gets_the_first_free_one() {
        let mut roster = roster(3);
        assert_eq!(roster.admit(&hello(Some(0), 10)), Ok(0));
        assert_eq!(roster.admit(&hello(None, 11)), Ok(1));
    }

    #[test]
    fn asking_twice_gives_the_same_place() {
        let mut roster = roster(1);
        assert_eq!(roster.admit(&hello(None, 10)), Ok(0));
        assert_eq!(roster.admit(&hello(None, 10)), Ok(0));
        assert_eq!(roster.len(), 1);
    }

    #[test]
    fn another_protocol_another_build_a_held_ordinal_and_a_full_fleet_are_refused_with_words() {
        let mut roster = roster(2);
        let other_protocol = Hello { protocol: 99, ..hello(None, 1) };
        assert!(roster.admit(&other_protocol).unwrap_err().reason.contains("protocol 99"));
        let other_build = Hello { build: "c".to_owned(), ..hello(None, 1) };
        assert!(roster.admit(&other_build).unwrap_err().reason.contains("build c"));
        assert_eq!(roster.admit(&hello(Some(4), 1)), Ok(4));
        assert!(roster.admit(&hello(Some(4), 2)).unwrap_err().reason.contains("ordinal 4"));
        assert_eq!(roster.admit(&hello(Some(9), 2)), Ok(9));
        assert!(roster.admit(&hello(None, 3)).unwrap_err().reason.contains("all 2 workers"));
    }

    #[test]
    fn ranks_follow_the_ordinals_even_with_holes() {
        let mut roster = roster(2);
        for (ordinal, incarnation) in [(9, 1), (4, 2)] {
            roster.admit(&hello(Some(ordinal), incarnation)).unwrap();
        }
        let ranks: Vec<_> =
            roster.shards().into_iter().map(|(id, shard)| (id.ordinal, shard.rank)).collect();
        assert_eq!(ranks, [(4, 0), (9, 1)]);
    }
}
