using Xunit;

namespace Cowork.Domain.Tests;

/// <summary>Given what happened, when a command comes, then this happens, or nothing, or a refusal.</summary>
sealed class Spec<TKey, TCommand, TEvent, TState>(Aggregate<TKey, TCommand, TEvent, TState> aggregate)
    where TKey : struct, IStreamKey
    where TEvent : Event
{
    public Context Given(params TEvent[] past) => new(aggregate, past.Aggregate(aggregate.Initial, aggregate.Evolve));

    public sealed class Context(Aggregate<TKey, TCommand, TEvent, TState> aggregate, TState state)
    {
        public TState State => state;

        public Outcome When(TCommand command) => new(aggregate, state, aggregate.Decide(command, state));
    }

    public sealed class Outcome(Aggregate<TKey, TCommand, TEvent, TState> aggregate, TState before, Decision<TEvent> decision)
    {
        public TState Then(params TEvent[] expected)
        {
            Assert.Null(decision.Refused);
            Assert.Equal(expected, decision.Events);
            return decision.Events.Aggregate(before, aggregate.Evolve);
        }

        /// <summary>The state after it, whatever the events are.</summary>
        public TState ThenSome()
        {
            Assert.Null(decision.Refused);
            return decision.Events.Aggregate(before, aggregate.Evolve);
        }

        public void ThenNothing() => Then();

        public Refusal ThenRefused(string code)
        {
            Assert.NotNull(decision.Refused);
            Assert.Equal(code, decision.Refused.Code);
            return decision.Refused;
        }
    }
}
