using System.Collections.Immutable;

namespace Cowork.Domain;

/// <summary>
/// What a run does otherwise than another run from an event on. The events before it are the beginning of both, and lie in the other run's stream. Of what comes after, the
/// record has what the world answered: answers to the same requests and results of the same calls are taken from there, and no other call is made unless it is allowed.
/// </summary>
/// <param name="Of">The other run, and the last event that both have.</param>
/// <param name="FromEvent">The event from which on it goes otherwise: its id in the feed of the other run's session.</param>
/// <param name="Known">The version up to which the other run's stream is the record.</param>
/// <param name="Changed">What is otherwise, ordered: <c>message</c>, <c>model</c>, <c>policy</c>, <c>skills</c>; empty: nothing.</param>
/// <param name="Policy">The policy by which it judges, in the form of the file (docs/policy.md); null: that of the host.</param>
/// <param name="Allow">Names of the tools whose calls are made, ordered; null: none.</param>
/// <param name="Stubs">Results in place of calls, ordered; null: none are given.</param>
/// <param name="RejectsUnrecorded">True: a call that would wait for a person whose decision is not recorded is rejected. Null: it waits.</param>
/// <param name="BudgetMicroUsd">What its calls of models may cost; null: no more than the tenant's budget holds.</param>
public sealed record Counterfactual(
    RunCut Of, long FromEvent, long Known, ImmutableList<string> Changed, [property: Personal(PersonalAttribute.Object)] Content? Policy = null,
    ImmutableList<string>? Allow = null, ImmutableList<StubbedResult>? Stubs = null, bool? RejectsUnrecorded = null, long? BudgetMicroUsd = null)
{
    /// <summary>The source of what the record of the other run has.</summary>
    public const string Recorded = "recorded";

    /// <summary>The source of the result of a call that was not made.</summary>
    public const string Stub = "stub";

    /// <summary>The source of the result of a call that was made.</summary>
    public const string Live = "live";

    /// <summary>The model is another one, so that no answer of the record is its.</summary>
    public const string ModelChanged = "model";

    /// <summary>Calls of the tool are made, as those of an ordinary run are.</summary>
    public bool Allows(string tool) => Allow?.Contains(tool) is true;

    /// <summary>The result that was given for a call; null: none.</summary>
    /// <param name="argsDigest">Hex SHA-256 of the arguments.</param>
    public Content? StubFor(string tool, string argsDigest) =>
        (Stubs?.Find(stub => stub.For == argsDigest) ?? Stubs?.Find(stub => stub.For == tool))?.Result;
}

/// <summary>A result in place of calls that are not made.</summary>
/// <param name="For">The name of a tool, or the hex SHA-256 of a call's arguments, which comes first.</param>
public sealed record StubbedResult(string For, Content Result);

/// <summary>A decision on a call that a counterfactual takes in place of asking a person.</summary>
/// <param name="RunId">The run whose record has it; null: none has, and the call is rejected.</param>
public sealed record ServedDecision(ApprovalOutcome Outcome, string By, string? Note = null, RunKey? RunId = null, ApprovalKey? ApprovalId = null);
