using System.Collections.Immutable;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>What a group's controller has an agent answer.</summary>
/// <param name="Message">The last message, which the agent answers.</param>
/// <param name="Before">The messages before it, in place of the group's conversation: role (<c>system</c>, <c>user</c> or <c>assistant</c>) and text.</param>
public sealed record AgentRunRequest(string AgentId, string Message, IReadOnlyList<(string Role, string Text)> Before);

/// <summary>
/// Begins a run of an agent for a group's controller. Refused: the session was closed (<c>session_closed</c>), its user is no member any more (<c>not_a_member</c>), the group
/// is archived (<c>group_archived</c>), or has no such agent (<c>unknown_agent</c>).
/// </summary>
/// <param name="Kid">The thumbprint of the session's key, of its certificate.</param>
/// <param name="Agent">As this host knows it; null: it knows none.</param>
/// <param name="Use">The signed request.</param>
/// <param name="Unfit">Why the request cannot be met; a repeat of one that was is answered all the same. Null: it can.</param>
public sealed record BeginAgentRun(
    GroupKey Group, string Kid, string User, RunKey RunId, Content Message, ImmutableList<TranscriptMessage> Transcript, string Model, RunAgent? Agent, int WaitingMax,
    SingleUse Use, RequestKey? Header = null, Refusal? Unfit = null) : ICommand
{
    public async ValueTask<Refusal?> Decide(UnitOfWork work)
    {
        if (await Use.Claim(work) is { } replayed)
        {
            return replayed;
        }
        if (await work.PinnedState(GroupSession.Aggregate, GroupSession.StreamKey(Kid)) is not GroupSession.Live)
        {
            return GroupSession.IsClosed;
        }
        if (await work.PinnedState(Domain.Group.Aggregate, Group) is not Group.Live group)
        {
            return Refusal.NotFound("group");
        }
        if (GroupAccess.WhyNotMember(group, User) is { } stranger)
        {
            return stranger;
        }
        return (Header is null ? null : await Header.Claim(work, RunId)) ?? Unfit ?? Domain.Group.WhyClosed(group)
            ?? (Agent is null || !group.Agents.Contains(Agent.Id)
                ? Refusal.Invalid("unknown_agent", "$.agent_id", $"There is no such agent in this group. There are: {string.Join(", ", group.Agents)}.")
                : await GroupRuns.Begin(work, Group.Session, RunId, Message, Model, Agent, work.By.Issuers, WaitingMax, Transcript));
    }
}

/// <summary>Begins runs of agents for the controllers of groups. They are ordinary runs of the group's session, in the lane of their agent.</summary>
public sealed class AgentRuns(
    ICommandExecutor commands, CommandHandler handler, IBlobs blobs, AgentCatalog agents, GroupRuns runs, TenantUsage usage, RunOptions options, TimeProvider clock)
{
    readonly TextCommands texts = new(handler, commands, blobs);

    /// <summary>Begins a run, or answers the run of an earlier request under the same key.</summary>
    public async ValueTask<(RunKey? Run, bool Replayed, Refusal? Refused)> Begin(
        Origin by, CertifiedSession session, AgentRunRequest request, SingleUse use, RequestKey? header, CancellationToken ct)
    {
        var message = NamedText.Of(request.Message);
        var before = request.Before.Select(said => (said.Role, Text: NamedText.Of(said.Text))).ToList();
        var agent = agents.Find(request.AgentId);
        var begin = new BeginAgentRun(
            session.Group, session.Kid, session.User, RunKey.New(clock.GetUtcNow()), message.Content,
            [.. before.Select(said => new TranscriptMessage(said.Role, said.Text.Content))],
            agent is null ? options.DefaultModel : runs.ModelOf(agent),
            agent is null ? null : GroupRuns.AgentOf(agent) with { By = session.Controller, Sender = session.User, MessageId = use.TokenId },
            options.QueuedPerSessionMax, use, header, await usage.RunRefusal(session.Org, ct));
        var result = await texts.Execute(session.Org, by, begin, [message, .. before.Select(said => said.Text)], ct);
        return result.Refused switch
        {
            null => (begin.RunId, false, null),
            { Code: "idempotency_key_claimed", Existing: { } existing } => (RunKey.FromId(existing), true, null),
            var refused => (null, false, refused),
        };
    }
}
