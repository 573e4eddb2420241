//! Who is in the fleet.
//!
//! A place is an ordinal; it is held by one live incarnation at a time. The expected number own the load: ranks
//! are the positions of their ordinals in rising order, fixed when the run is assigned, so ordinals may
//! have holes. Who comes beyond them is a spare, as is one who returns: its former life is lost for ever.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    time::Duration,
};

use protocol::{Assigned, Hello, PROTOCOL_VERSION, Refusal, Welcome, WorkerId};
use workload::Shard;

/// When the second claimant of an ordinal may ask again: by then the first was heard, or is lost.
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// When a worker that waits for the next of many runs asks again: under the pause in which a worker says why it waits.
pub(crate) const NEXT_RUN: Duration = Duration::from_millis(400);

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

/// What a member is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It owns a class of the load, from the start or by a takeover.
    Owner,
    /// It waits for a loss.
    Spare,
}

/// How many workers a run wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetSize {
    /// As many own the load.
    pub expected: NonZeroU32,
    /// With as many the run starts at the deadline.
    pub minimum: NonZeroU32,
    /// As many more are kept for a loss.
    pub spares: u32,
}

impl FleetSize {
    /// So many and no others.
    #[must_use]
    pub fn exactly(expected: NonZeroU32) -> Self {
        Self { expected, minimum: expected, spares: 0 }
    }

    fn most(self) -> usize {
        self.expected.get() as usize + self.spares as usize
    }
}

/// One worker.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its place and incarnation.
    pub id: WorkerId,
    /// Host or pod name.
    pub host: String,
    /// What it is for.
    pub role: Role,
    /// How far it has come.
    pub standing: Standing,
    /// What it said about its inputs.
    pub assigned: Option<Assigned>,
    /// Coordinator's clock minus the worker's and its error, nanoseconds.
    pub clock: Option<(i64, u64)>,
}

impl Member {
    fn welcome(&self) -> Welcome {
        let ordinal = self.id.ordinal;
        match self.role {
            Role::Owner => Welcome::Accepted { ordinal },
            Role::Spare => Welcome::Spare { ordinal },
        }
    }
}

/// All members, the lost ones too.
#[derive(Clone, Debug)]
pub struct Roster {
    size: FleetSize,
    build: String,
    members: BTreeMap<WorkerId, Member>,
    /// Ranks have been given out: who comes now is a spare.
    fixed: bool,
    /// Which run it is, of many.
    run: Option<u64>,
}

impl Roster {
    /// An empty fleet of workers of the same build.
    #[must_use]
    pub fn new(size: FleetSize, build: String) -> Self {
        Self { size, build, members: BTreeMap::new(), fixed: false, run: None }
    }

    /// The fleet of one run of many: who has no place in it may have one in the next, and waits.
    #[must_use]
    pub fn of_run(self, run: Option<u64>) -> Self {
        Self { run, ..self }
    }

    /// See [`protocol::Assignment::run`].
    #[must_use]
    pub fn run(&self) -> Option<u64> {
        self.run
    }

    /// A fleet of a run that goes on: its members as a journal has them.
    #[must_use]
    pub fn resumed(size: FleetSize, build: String, members: Vec<Member>) -> Self {
        let members = members.into_iter().map(|member| (member.id, member)).collect();
        Self { size, build, members, fixed: true, run: None }
    }

    /// Gives a place, or says in words why not; the new member's identity, if it is one.
    ///
    /// # Errors
    /// Another protocol or build; an ordinal that is held by somebody else; a full fleet; an incarnation that
    /// was lost.
    pub fn admit(&mut self, hello: &Hello) -> Result<(Welcome, Option<WorkerId>), Refusal> {
        self.refuse_strangers(hello)?;
        if let Some(known) = self.members.values().find(|m| m.id.incarnation == hello.incarnation) {
            return match known.standing {
                Standing::Lost => Err(Refusal::for_good("this worker was counted as lost")),
                Standing::Joined | Standing::Assigned | Standing::Armed | Standing::Complete => {
                    Ok((known.welcome(), None))
                }
            };
        }
        self.refuse_the_done(hello)?;
        let ordinal = self.place(hello.ordinal)?;
        let role = if self.is_full() || self.fixed { Role::Spare } else { Role::Owner };
        let id = WorkerId { ordinal, incarnation: hello.incarnation };
        let host = hello.host.clone();
        let standing = Standing::Joined;
        let member = Member { id, host, role, standing, assigned: None, clock: None };
        let welcome = member.welcome();
        self.members.insert(id, member);
        Ok((welcome, Some(id)))
    }

    fn refuse_strangers(&self, hello: &Hello) -> Result<(), Refusal> {
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
        Ok(())
    }

    /// Whoever has had its part in this run has no place in it any more, not even as a spare.
    fn refuse_the_done(&self, hello: &Hello) -> Result<(), Refusal> {
        match self.run {
            Some(run) if hello.last_run == Some(run) => Err(wait_for_the_next_run()),
            Some(_) | None => Ok(()),
        }
    }

    fn place(&self, claimed: Option<u32>) -> Result<u32, Refusal> {
        if let Some(claimed) = claimed
            && self.holding().any(|member| member.id.ordinal == claimed)
        {
            let reason = format!("ordinal {claimed} is held by another worker");
            return Err(Refusal { reason, retry_after: Some(ASK_AGAIN) });
        }
        if self.holding().count() >= self.size.most() {
            let reason = match self.size.spares {
                0 => format!("all {} workers are here", self.size.expected),
                spares => {
                    format!("all {} workers and {spares} spares are here", self.size.expected)
                }
            };
            return Err(Refusal { reason, retry_after: self.run.map(|_| ASK_AGAIN) });
        }
        let is_free = |ordinal: &u32| self.members.keys().all(|known| known.ordinal != *ordinal);
        Ok(claimed.unwrap_or_else(|| (0..).find(is_free).unwrap_or(u32::MAX)))
    }

    fn live(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.standing != Standing::Lost)
    }

    /// Those whose place is taken: who left in order makes room for whoever is started instead.
    fn holding(&self) -> impl Iterator<Item = &Member> {
        self.live().filter(|member| member.standing != Standing::Complete)
    }

    fn owners(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.role == Role::Owner)
    }

    /// Whether as many own the load as are expected.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.here() >= self.size.expected.get() as usize
    }

    /// Whether the run may start at the deadline.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.here() >= self.size.minimum.get() as usize
    }

    fn here(&self) -> usize {
        self.live().filter(|member| member.role == Role::Owner).count()
    }

    /// How many workers the run wants.
    #[must_use]
    pub fn size(&self) -> FleetSize {
        self.size
    }

    /// The members in order of their ordinals; owners at the start have their ranks in this order.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// How many own or owned some of the load.
    #[must_use]
    pub fn len(&self) -> usize {
        self.owners().count()
    }

    /// How many are here and not lost.
    #[must_use]
    pub fn heard(&self) -> usize {
        self.live().count()
    }

    /// How many are here, neither lost nor among those that `left` in order.
    #[must_use]
    pub fn heard_but(&self, left: &BTreeSet<WorkerId>) -> usize {
        self.live().filter(|member| !left.contains(&member.id)).count()
    }

    /// Whether nobody owns anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fixes the ranks: each member that is not lost with its part of the load, `None` for a spare. Who was
    /// lost before had no part and is forgotten.
    pub fn fix(&mut self) -> Vec<(WorkerId, Option<Shard>)> {
        self.fixed = true;
        self.members.retain(|_, member| member.standing != Standing::Lost);
        let count = u32::try_from(self.len()).ok().and_then(NonZeroU32::new);
        let mut shards = count.into_iter().flat_map(Shard::split);
        let part = |member: &Member| match member.role {
            Role::Owner => shards.next(),
            Role::Spare => None,
        };
        let ids: Vec<_> = self.members.keys().copied().collect();
        ids.into_iter().zip(self.members.values().map(part)).collect()
    }

    /// A member takes over from a lost one.
    pub fn inherit(&mut self, id: WorkerId) {
        if let Some(member) = self.members.get_mut(&id) {
            member.role = Role::Owner;
        }
    }

    /// What a worker is for; `None` for one that has no place.
    #[must_use]
    pub fn role(&self, id: WorkerId) -> Option<Role> {
        self.members.get(&id).map(|member| member.role)
    }

    /// The member with this identity.
    pub fn member_mut(&mut self, id: WorkerId) -> Option<&mut Member> {
        self.members.get_mut(&id)
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

    /// Whether every owner has come at least this far; the lost ones are not waited for.
    #[must_use]
    pub fn all(&self, standing: Standing) -> bool {
        self.owners().all(|member| member.standing >= standing)
    }

    /// Members that stand exactly here, in order.
    #[must_use]
    pub fn at(&self, standing: Standing) -> Vec<WorkerId> {
        let here = self.members.values().filter(|member| member.standing == standing);
        here.map(|member| member.id).collect()
    }
}

/// For a worker between two runs of a coordinator that leads many.
pub(crate) fn wait_for_the_next_run() -> Refusal {
    let reason = "the next run has not begun to form".to_owned();
    Refusal { reason, retry_after: Some(NEXT_RUN) }
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
            last_run: None,
        }
    }

    fn roster(expected: u32, spares: u32) -> Roster {
        let expected = NonZeroU32::new(expected).unwrap();
        Roster::new(FleetSize { spares, ..FleetSize::exactly(expected) }, "b".to_owned())
    }

    fn welcome(roster: &mut Roster, ordinal: Option<u32>, incarnation: u64) -> Welcome {
        roster.admit(&hello(ordinal, incarnation)).unwrap().0
    }

    fn refusal(roster: &mut Roster, ordinal: Option<u32>, incarnation: u64) -> Refusal {
        roster.admit(&hello(ordinal, incarnation)).unwrap_err()
    }

    #[test]
    fn a_worker_without_an_ordinal_gets_the_first_free_one() {
        let mut roster = roster(3, 0);
        assert_eq!(welcome(&mut roster, Some(0), 10), Welcome::Accepted { ordinal: 0 });
        assert_eq!(welcome(&mut roster, None, 11), Welcome::Accepted { ordinal: 1 });
    }

    #[test]
    fn asking_twice_gives_the_same_place() {
        let mut roster = roster(1, 0);
        assert_eq!(welcome(&mut roster, None, 10), Welcome::Accepted { ordinal: 0 });
        assert_eq!(roster.admit(&hello(None, 10)), Ok((Welcome::Accepted { ordinal: 0 }, None)));
        assert_eq!(roster.len(), 1);
    }

    #[test]
    fn another_protocol_another_build_a_held_ordinal_and_a_full_fleet_are_refused_with_words() {
        let mut roster = roster(2, 0);
        let other_protocol = Hello { protocol: 99, ..hello(None, 1) };
        assert!(roster.admit(&other_protocol).unwrap_err().reason.contains("protocol 99"));
        let other_build = Hello { build: "c".to_owned(), ..hello(None, 1) };
        assert!(roster.admit(&other_build).unwrap_err().reason.contains("build c"));
        assert_eq!(welcome(&mut roster, Some(4), 1), Welcome::Accepted { ordinal: 4 });
        let held = refusal(&mut roster, Some(4), 2);
        assert!(held.reason.contains("ordinal 4") && held.retry_after.is_some());
        assert_eq!(welcome(&mut roster, Some(9), 2), Welcome::Accepted { ordinal: 9 });
        let full = refusal(&mut roster, None, 3);
        assert!(full.reason.contains("all 2 workers") && full.retry_after.is_none());
    }

    #[test]
    fn of_many_runs_the_next_is_waited_for() {
        let mut roster = roster(1, 0).of_run(Some(7));
        let done = |run| Hello { last_run: Some(run), ..hello(None, 1) };
        let waits = roster.admit(&done(7)).unwrap_err();
        assert!(waits.retry_after.is_some(), "it is no spare of the run it has just had");
        assert_eq!(roster.admit(&done(6)).unwrap().0, Welcome::Accepted { ordinal: 0 });
        let beyond = refusal(&mut roster, None, 2);
        assert!(beyond.retry_after.is_some(), "the next run may need it: {beyond}");
    }

    #[test]
    fn who_comes_beyond_the_expected_is_a_spare_up_to_a_number() {
        let mut roster = roster(1, 1);
        assert_eq!(welcome(&mut roster, None, 1), Welcome::Accepted { ordinal: 0 });
        assert_eq!(welcome(&mut roster, None, 2), Welcome::Spare { ordinal: 1 });
        assert!(refusal(&mut roster, None, 3).reason.contains("1 spares"));
    }

    #[test]
    fn who_returns_is_a_spare_and_its_former_life_stays_lost() {
        let mut roster = roster(2, 0);
        for ordinal in [0, 1] {
            welcome(&mut roster, Some(ordinal), u64::from(ordinal) + 1);
        }
        let parts = roster.fix();
        assert!(parts.iter().all(|(_, shard)| shard.is_some()));
        assert!(refusal(&mut roster, Some(1), 7).retry_after.is_some(), "not lost yet");
        roster.advance(WorkerId { ordinal: 1, incarnation: 2 }, Standing::Lost);
        assert!(refusal(&mut roster, Some(1), 2).reason.contains("lost"));
        assert_eq!(welcome(&mut roster, Some(1), 7), Welcome::Spare { ordinal: 1 });
        assert_eq!(roster.members().count(), 3);
    }

    #[test]
    fn the_place_of_one_that_left_in_order_is_free() {
        let mut roster = roster(2, 0);
        for ordinal in [0, 1] {
            welcome(&mut roster, Some(ordinal), u64::from(ordinal) + 1);
        }
        let _ = roster.fix();
        roster.advance(WorkerId { ordinal: 1, incarnation: 2 }, Standing::Complete);
        assert_eq!(welcome(&mut roster, Some(1), 7), Welcome::Spare { ordinal: 1 });
        assert!(refusal(&mut roster, None, 8).reason.contains("all 2 workers"));
        assert_eq!(roster.len(), 2, "a spare owns nothing");
    }

    #[test]
    fn who_left_in_order_is_not_here_although_nothing_of_it_is_lost() {
        let mut roster = roster(2, 0);
        let [first, second] = [0, 1].map(|ordinal| {
            let incarnation = u64::from(ordinal) + 1;
            _ = welcome(&mut roster, None, incarnation);
            WorkerId { ordinal, incarnation }
        });
        assert_eq!(roster.heard_but(&BTreeSet::new()), 2);
        assert_eq!(roster.heard_but(&BTreeSet::from([second])), 1);
        assert!(roster.advance(second, Standing::Lost));
        let left = BTreeSet::from([second]);
        assert_eq!(roster.heard_but(&left), 1, "it is not taken off twice");
        assert!(roster.advance(first, Standing::Lost));
        assert_eq!(roster.heard_but(&left), 0);
    }

    #[test]
    fn a_place_that_was_lost_before_the_ranks_were_fixed_is_free() {
        let mut roster = roster(2, 0);
        welcome(&mut roster, Some(0), 1);
        welcome(&mut roster, Some(1), 2);
        roster.advance(WorkerId { ordinal: 0, incarnation: 1 }, Standing::Lost);
        assert!(!roster.is_full());
        assert_eq!(welcome(&mut roster, Some(0), 3), Welcome::Accepted { ordinal: 0 });
        let parts =
            roster.fix().into_iter().map(|(id, shard)| (id.incarnation, shard.map(|s| s.rank)));
        assert_eq!(parts.collect::<Vec<_>>(), [(3, Some(0)), (2, Some(1))]);
    }

    #[test]
    fn ranks_follow_the_ordinals_even_with_holes_and_spares_have_none() {
        let mut roster = roster(2, 1);
        for (ordinal, incarnation) in [(9, 1), (4, 2), (6, 3)] {
            welcome(&mut roster, Some(ordinal), incarnation);
        }
        let parts = roster.fix().into_iter().map(|(id, shard)| (id.ordinal, shard.map(|s| s.rank)));
        assert_eq!(parts.collect::<Vec<_>>(), [(4, Some(0)), (6, None), (9, Some(1))]);
    }
}
