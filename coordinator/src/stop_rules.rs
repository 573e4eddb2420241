//! What the plan's rules on an early end look at: what everybody has told of the stage that is offered.

use std::time::Duration;

use metrics::{Distribution, Metric, StopReason, StopView};
use workload::{Drive, Offered, Plan, StageKind};

use crate::Ledger;

impl Ledger {
    /// The rule that speaks now, if one does. Warm-up and cool-down are left alone: they are not
    /// measured.
    #[must_use]
    pub fn rule_that_speaks(&self, plan: &Plan) -> Option<StopReason> {
        let last_told = self.last_second()?;
        let index = plan.stage_at(Duration::from_secs(last_told.into()))?;
        let stage = plan.stages.get(usize::from(index))?;
        let is_measured = !matches!(stage.kind, StageKind::Warmup | StageKind::Cooldown);
        if !is_measured || self.stage_ends().of(index).is_some() {
            return None;
        }
        let first = stage.start.as_secs() + u64::from(stage.start.subsec_nanos() > 0);
        let first = u32::try_from(first).unwrap_or(u32::MAX);
        let (open_loop, capped) = match plan.drive {
            Drive::Open { cap, .. } => (true, cap.is_some()),
            Drive::Closed { .. } => (false, false),
        };
        let view = StopView {
            seconds: &self.total().seconds,
            stage: index,
            told: first..last_told + 1,
            level_is_constant: open_loop && matches!(stage.offered, Offered::Constant { .. }),
            capped,
            e2e_p99: self.e2e_p99(index),
        };
        plan.rules_in(index).judge(&view)
    }

    fn e2e_p99(&self, stage: u16) -> Option<Duration> {
        let mut all = Distribution::new(Metric::E2eLatency.kind());
        for (_, record) in self.total().scopes.iter().filter(|(scope, _)| scope.stage == stage) {
            if let Some(samples) = record.distribution(Metric::E2eLatency) {
                all.merge(samples).ok()?;
            }
        }
        all.quantile(0.99).map(Duration::from_micros)
    }
}
