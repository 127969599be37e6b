using Cowork.Domain;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>A group with the agents <c>alpha</c>, <c>beta</c> and <c>gamma</c> on the in-memory engine. Its creator and only member is <c>ann</c>.</summary>
sealed class GroupHarness
{
    public static readonly GroupKey Key = GroupKey.FromId("grp_01k9group00000000000000000");

    /// <param name="says">From the agent's nickname and the message that it answers to its answer.</param>
    /// <param name="options">Null: as usual.</param>
    public GroupHarness(Func<string, string, string> says, RunOptions? options = null, Policy? policy = null)
    {
        Model = new(says);
        Bench = new()
        {
            Agents = [new("alpha", "alpha"), new("beta", "Beta", Instructions: "Be strict."), new("gamma", "gamma", Tools: ["read_file"])],
            Options = (options ?? new()) with { DefaultModel = "agents" },
            Policy = policy ?? Policy.BuiltIn,
        };
        Bench.Models["agents"] = Model;
    }

    public AgentModel Model { get; }

    public RunHarness Bench { get; }

    /// <summary>Creates the group with all three agents.</summary>
    /// <param name="leftToOthers">Kinds of jobs that the host does not do.</param>
    public async Task<RunHarness.Host> Open(string host = "n0", params string[] leftToOthers)
    {
        // Idle groups are another matter, and have specs of their own.
        var first = Bench.AddHost(host, [IdleGroups.JobKind, .. leftToOthers]);
        var create = new CreateGroup(Key, "acme", Content.Of("Q2"), true, ["alpha", "beta", "gamma"], "ann", "/w");
        Assert.Null((await first.Commands.Execute(RunHarness.Org, new("user:ann"), create, default)).Refused);
        await first.Commands.Commit(
            RunHarness.Org, new("system"),
            work =>
            {
                work.Cancel(IdleGroups.JobKind, Key.Value);
                return new((Refusal?)null);
            },
            default);
        return first;
    }

    public static async Task<PostedMessage> Post(RunHarness.Host host, string text, string? messageId = null, params string[] agents)
    {
        var (posted, refused) = await host.Messages.Post(RunHarness.Org, new("user:ann"), Key, "ann", text, messageId, agents, default);
        return posted ?? throw new InvalidOperationException(refused!.Code);
    }

    /// <summary>The events of the group's feed that are of these types, in order.</summary>
    public async Task<List<TEvent>> Of<TEvent>()
        where TEvent : Event =>
        [.. (await Bench.Engine.Feed(RunHarness.Org, Key.Session, 0, int.MaxValue, default)).Entries.Where(e => e.Is<TEvent>())
            .Select(e => (TEvent)e.Read())];

    /// <summary>Who was asked, in the order in which they answered.</summary>
    public async Task<List<string>> Answered() => [.. (await Of<GroupEvent.GroupAgentAnswered>()).Select(answer => answer.AgentId)];
}
