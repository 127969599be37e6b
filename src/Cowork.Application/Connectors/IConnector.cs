using System.Collections.Immutable;

namespace Cowork.Application;

/// <summary>
/// A kind of outside source: how to reach it, and how to ask it. One instance serves all tenants and is called from many threads. Its answers and reasons hold no secret of the
/// settings, also when the source repeats one.
/// </summary>
public interface IConnector
{
    ConnectorSpec Spec { get; }

    /// <summary>True: a write with the same idempotency token takes effect once. False: one that was interrupted is not repeated.</summary>
    bool CanRepeatWrites => false;

    /// <summary>
    /// True: its sources have tools, which models call as tools of their own. It answers <see cref="ConnectorRequest.Tools"/> and <see cref="ConnectorRequest.Call"/>, and
    /// nobody asks it for a <see cref="ConnectorRequest.Query"/> or <see cref="ConnectorRequest.Write"/>. False: the other way round.
    /// </summary>
    bool HasTools => false;

    /// <summary>What is wrong with fields that no source needs to be asked for; empty: nothing. Required fields are there when it is called.</summary>
    IEnumerable<FieldFault> Check(ConnectionSettings settings) => [];

    /// <summary>Reaches the source with the settings, within <see cref="ConnectorLimits.ProbeTime"/>. It changes nothing there.</summary>
    ValueTask<Probe> Probe(ConnectionSettings settings, CancellationToken ct);

    /// <summary>
    /// What the request would do at the source, for the policy. What is not provably a read is a write. The read path of <see cref="Ask"/> is the fence: this is only the question
    /// whether a person must agree.
    /// </summary>
    ValueTask<ConnectorEffect> Judge(ConnectionSettings settings, ConnectorRequest request, CancellationToken ct);

    /// <summary>
    /// Asks the source, within <see cref="ConnectorLimits"/>. <see cref="ConnectorRequest.Schema"/>, <see cref="ConnectorRequest.Sample"/> and
    /// <see cref="ConnectorRequest.Query"/> cannot change anything there. An expected failure (unreachable, refused, too slow) is a <see cref="ConnectorAnswer.Failed"/>.
    /// </summary>
    ValueTask<ConnectorAnswer> Ask(ConnectionSettings settings, ConnectorRequest request, CancellationToken ct);

    /// <summary>Gives the credentials of a deleted connection back, where the source gave them.</summary>
    /// <returns>Why it did not take them and may when it is asked again, as a sentence without secrets; null: it did, or there is nothing to give back.</returns>
    ValueTask<string?> Revoke(ConnectionSettings settings, CancellationToken ct) => ValueTask.FromResult<string?>(null);
}

/// <summary>A kind of source as <c>GET /api/v1/connectors/specs</c> shows it.</summary>
/// <param name="Id">Stable kebab-case name: <c>google-sheets</c>.</param>
/// <param name="Fields">What a client gives to connect, in the order to ask for it. Of an OAuth spec: what it needs beside the tokens, often nothing.</param>
public sealed record ConnectorSpec(string Id, string Name, string Description, ConnectorAuth Auth, ImmutableList<ConnectorField> Fields);

/// <summary>How a connection gets its secrets.</summary>
public enum ConnectorAuth
{
    /// <summary>A client sends them with the connection.</summary>
    Credentials,

    /// <summary>The source's own server gives tokens to this one, when the user agrees there (RFC 6749, authorization code).</summary>
    OAuth2,
}

/// <summary>A field of a spec.</summary>
/// <param name="Key">The member of <c>credentials</c>: snake_case.</param>
/// <param name="IsSecret">It is encrypted, and never shown again. Other fields are encrypted beside it.</param>
/// <param name="IsRequired">False: it may be left out.</param>
public sealed record ConnectorField(string Key, string Label, bool IsSecret = false, bool IsRequired = true);

/// <summary>A field with a value that cannot be used.</summary>
/// <param name="Message">A sentence that does not repeat the value.</param>
public sealed record FieldFault(string Key, string Message);

/// <summary>The outcome of reaching a source.</summary>
/// <param name="WhyNot">Null: it was reached. Else a plain sentence without secrets, at most <see cref="ConnectorLimits.ReasonCharsMax"/> characters.</param>
public sealed record Probe(string? WhyNot)
{
    public static Probe Connected { get; } = new((string?)null);

    public static Probe Failed(string whyNot) => new(whyNot);

    /// <summary>Of a question that was asked to try: failed when its answer is a failure.</summary>
    public static Probe Of(ConnectorAnswer answer) => answer is ConnectorAnswer.Failed failed ? Failed(failed.Reason) : Connected;
}
