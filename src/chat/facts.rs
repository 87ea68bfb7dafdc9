//! What is known of a model beyond its format: limits, and controls that only some models of a vendor take.

/// One control or habit of a model. The names are those of the catalogue's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Trait {
    /// Thinking is steered by an effort, and the model decides how much it needs.
    AdaptiveThinking,
    /// Thinking is steered by a budget of tokens.
    BudgetThinking,
    /// A JSON schema is taken as the form of the answer, without a tool that stands in for it.
    NativeSchema,
    /// Temperature and its kin are refused.
    FixedSampling,
    /// A tool cannot be forced.
    FreeToolsOnly,
    /// The effort `minimal` is taken.
    MinimalEffort,
    /// The effort `xhigh` is taken.
    XhighEffort,
    /// The effort `max` is taken.
    MaxEffort,
    /// Served by the vendor's Responses API and not by chat completions.
    ResponsesOnly,
}

/// A set of [`Trait`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits(u32);

/// What is known of a model; the default for one that nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The catalogue knows the model: what is not in `traits` it has not.
    pub known: bool,
    /// Output tokens at most; `None` when unknown.
    pub max_output: Option<u64>,
    /// Its controls and habits.
    pub traits: Traits,
}

impl Trait {
    /// Every trait.
    pub const ALL: [Self; 9] = [
        Self::AdaptiveThinking,
        Self::BudgetThinking,
        Self::NativeSchema,
        Self::FixedSampling,
        Self::FreeToolsOnly,
        Self::MinimalEffort,
        Self::XhighEffort,
        Self::MaxEffort,
        Self::ResponsesOnly,
    ];

    /// The name in the catalogue's file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AdaptiveThinking => "adaptive_thinking",
            Self::BudgetThinking => "budget_thinking",
            Self::NativeSchema => "native_schema",
            Self::FixedSampling => "fixed_sampling",
            Self::FreeToolsOnly => "free_tools_only",
            Self::MinimalEffort => "minimal_effort",
            Self::XhighEffort => "xhigh_effort",
            Self::MaxEffort => "max_effort",
            Self::ResponsesOnly => "responses_only",
        }
    }
}

impl Traits {
    /// `self` with one more.
    #[must_use]
    pub const fn with(self, one: Trait) -> Self {
        Self(self.0 | 1 << one as u8)
    }

    /// Is it in the set?
    pub const fn has(self, one: Trait) -> bool {
        self.0 & (1 << one as u8) != 0
    }

    /// All members, in order.
    pub fn iter(self) -> impl Iterator<Item = Trait> {
        Trait::ALL.into_iter().filter(move |one| self.has(*one))
    }
}
