using System.Collections.Immutable;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Application;

/// <summary>Begins the runs of a group's agents, those that members address and those that agents do.</summary>
public sealed class GroupRuns(AgentCatalog agents, TenantUsage usage, IBlobs blobs, RunOptions options)
{
    /// <summary>Of the group's agents, those that a text addresses by their nicknames, in its order.</summary>
    public IReadOnlyList<AgentDefinition> Addressed(Group.Live group, string text)
    {
        var known = group.Agents.Select(agents.Find).OfType<AgentDefinition>().ToList();
        return [.. Mentions.In(text, [.. known.Select(agent => agent.Nickname)]).Select(name => known.Find(agent => agent.Nickname == name)!)];
    }

    /// <summary>Puts a run into the lane of its agent, and starts it when the lane is empty.</summary>
    /// <param name="model">Null: the host's default.</param>
    /// <param name="transcript">What was said before, in place of the group's conversation; null: that conversation.</param>
    internal static async ValueTask<Refusal?> Begin(
        UnitOfWork work, SessionKey session, RunKey run, Content message, string model, RunAgent agent, ImmutableList<Issuer>? issuers, int waitingMax,
        ImmutableList<TranscriptMessage>? transcript = null)
    {
        if (await work.State(Session.Aggregate, session) is not Session.Open open)
        {
            return Refusal.NotFound("session");
        }
        var create = new RunCommand.Create(
            run, open.SessionId, message, model, null, work.Now, Issuers: issuers is { IsEmpty: false } ? issuers : null, Folders: open.Grants, Agent: agent,
            Transcript: transcript, Subject: open.Subject);
        if (await work.Do(Run.Aggregate, run, create, session, run, isNew: true) is { } impossible)
        {
            return impossible;
        }
        if (open.QueueOf(agent.Id).IsEmpty)
        {
            work.Start(new Job(Run.Aggregate.Name, run.Value));
        }
        return await work.Do(Session.Aggregate, session, new SessionCommand.Enqueue(run, waitingMax, work.Now, Lane: agent.Id), session, run);
    }

    /// <summary>
    /// What follows from the answer of an agent, in the commit that ends its run: it is part of the conversation, and the agents that it addresses are asked, unless agents
    /// have handed on too often, or too many runs wait or have come of the message.
    /// </summary>
    internal async ValueTask<Refusal?> Answered(UnitOfWork work, DrivenRun run, Run.Active state, RunAgent agent, CancellationToken ct)
    {
        var session = state.Request.SessionId;
        var key = new GroupKey(session.Value);
        if (await work.State(Group.Aggregate, key) is not Group.Live group || await work.State(Session.Aggregate, session) is not Session.Open open)
        {
            return null;
        }
        var addressed = Addressed(group, await blobs.Text(state.Reply!, ct)).Where(other => other.Id != agent.Id).ToList();
        var stopped = addressed.Count == 0 ? null : await WhyStopped(run.Org, group, open, agent, addressed, ct);
        var asked = stopped is null ? addressed.Select(other => (Agent: other, Run: RunKey.New(work.Now))).ToList() : [];
        var calls = asked.Select(call => new AgentCall(call.Agent.Id, call.Run)).ToImmutableList();
        var refused = await work.Do(Group.Aggregate, key, new GroupCommand.RecordAnswer(run.Key, agent, calls, work.Now), session);
        if (refused is null && stopped is { } reason)
        {
            refused = await work.Do(
                Group.Aggregate, key, new GroupCommand.StopCalls(run.Key, agent, [.. addressed.Select(other => other.Id)], reason, work.Now), session);
        }
        foreach (var (other, called) in asked)
        {
            refused ??= await Begin(
                work, session, called, state.Reply!, ModelOf(other), AgentOf(other) with
                {
                    By = agent.Nickname,
                    Sender = agent.Sender,
                    MessageId = agent.MessageId,
                    Depth = agent.Depth + 1,
                    CalledBy = run.Key,
                },
                state.Request.Issuers, options.QueuedPerSessionMax);
        }
        return refused;
    }

    /// <summary>The model of an agent's runs.</summary>
    internal string ModelOf(AgentDefinition agent) => agent.Model ?? options.DefaultModel;

    /// <summary>The agent as its runs record it, without what it answers.</summary>
    internal static RunAgent AgentOf(AgentDefinition agent) => new(
        agent.Id, agent.Nickname, "", "", "", 0, agent.Instructions is { } instructions ? Content.Of(instructions) : null, agent.Tools);

    async ValueTask<StoppedCalls?> WhyStopped(string org, Group.Live group, Session.Open session, RunAgent agent, List<AgentDefinition> addressed, CancellationToken ct) =>
        group.Archive is not null ? StoppedCalls.Archived
        : agent.Depth >= Limits.AgentDepthMax ? StoppedCalls.Depth
        : group.RunsOf(agent.Sender, agent.MessageId) + addressed.Count > Limits.RunsPerMessageMax ? StoppedCalls.Runs
        : !addressed.TrueForAll(other => session.HasRoom(other.Id, options.QueuedPerSessionMax - addressed.Count + 1)) || await usage.RunRefusal(org, ct) is not null
            ? StoppedCalls.QueueFull
        : null;
}
