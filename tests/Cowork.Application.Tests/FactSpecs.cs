using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;

using Microsoft.Extensions.Logging.Abstractions;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>Facts of users and of the agent, global and of projects: who is reminded of them, on any number of hosts.</summary>
public sealed class FactSpecs
{
    const string Org = RunHarness.Org;

    static readonly ProjectKey Sales = new("01kdvkjr000000000000000007");
    static readonly ProjectKey Research = new("01kdvkjr000000000000000008");

    readonly RunHarness harness = new();

    static async Task<string?> Do(RunHarness.Host host, ICommand command) => (await ((ICommandExecutor)host.Commands).Execute(Org, RunHarness.User, command, default)).Refused?.Code;

    static CreateMemory Fact(string key, string text, ProjectKey? project = null) => new(new(key), Content.Of(text), project);

    async Task<RunHarness.Host> Ready()
    {
        var host = harness.AddHost("a");
        foreach (var (project, session) in ((ProjectKey?, string)[])[(Sales, "sales"), (Research, "research"), (null, "general")])
        {
            if (project is { } key)
            {
                Assert.Null(await Do(host, new CreateProject(key, new("x", null, [], [], null))));
            }
            Assert.Null(await Do(host, new OpenSession(new(session), "/w", "{}", null, Project: project)));
        }
        return host;
    }

    async Task<string> Reminded(RunHarness.Host host, string session, string message)
    {
        var run = await host.Send(session, message);
        await host.Drive();
        var retrieval = (await harness.Engine.Load(Org, $"run-{run.Value}", 0, int.MaxValue, default)).Events.Select(e => e.Event).OfType<RunEvent.MemoryRetrieval>().Single();
        return string.Join(' ', retrieval.Provenance.Where(from => from.Kind == Memory.Fact).Select(from => $"{from.Id.Value}.{from.Version}").Order());
    }

    [Fact]
    public async Task A_run_is_reminded_of_global_facts_and_of_its_projects_and_never_of_anothers()
    {
        var host = await Ready();
        Assert.Null(await Do(host, Fact("g", "The kraken sleeps.")));
        Assert.Null(await Do(host, Fact("s", "The kraken wakes.", Sales)));
        Assert.Null(await Do(host, Fact("r", "The kraken swims.", Research)));
        Assert.Null(await Do(host, new KeepMemory(new("agent"), Memory.Fact, Content.Of("The kraken eats."), new("sales"), new("none"))));
        Assert.Null(await Do(host, new KeepMemory(new("all"), Memory.Fact, Content.Of("The kraken dives."), new("general"), new("none"))));
        foreach (var asked in (RunHarness.Host[])[host, harness.AddHost("b")])
        {
            Assert.Equal("agent.1 all.1 g.1 s.1", await Reminded(asked, "sales", "kraken"));
            Assert.Equal("all.1 g.1 r.1", await Reminded(asked, "research", "kraken"));
            Assert.Equal("all.1 g.1", await Reminded(asked, "general", "kraken"));
        }
        // Summaries and learnings of a project's conversations stay there, too.
        Assert.Contains(await host.Queries.RecallAll(Org, Sales, "kraken", 50, default), memory => memory.From.Kind != Memory.Fact);
        Assert.All(
            await host.Queries.RecallAll(Org, Research, "kraken", 50, default),
            memory => Assert.DoesNotContain(memory.From.Id.Value, (string[])["s", "agent", Ids.KeyOf("session_summary sales")]));
        await Consistent();
    }

    [Fact]
    public async Task A_changed_or_deleted_fact_is_so_at_the_next_retrieval_on_every_host()
    {
        var (host, other) = (await Ready(), harness.AddHost("b"));
        Assert.Null(await Do(host, Fact("f", "The kraken sleeps.")));
        Assert.Equal("f.1", await Reminded(other, "general", "kraken"));
        Assert.Equal("f.1", await Reminded(host, "sales", "kraken"));
        Assert.Null(await Do(host, new ChangeMemory(new("f"), Content.Of("The zebra sleeps."))));
        Assert.Equal(("", "f.2"), (await Reminded(other, "general", "kraken"), await Reminded(other, "general", "zebra")));
        Assert.Equal(("", "f.2"), (await Reminded(host, "sales", "kraken"), await Reminded(host, "sales", "zebra")));
        Assert.Null(await Do(other, new DeleteMemory(new("f"))));
        Assert.Equal(("", ""), (await Reminded(host, "sales", "zebra"), await Reminded(other, "general", "zebra")));
        Assert.Equal("not_found", await Do(host, new ChangeMemory(new("f"), Content.Of("x"))));
        Assert.Equal("not_found", await Do(host, new DeleteMemory(new("f"))));
        await Consistent();
    }

    [Fact]
    public async Task Facts_older_than_the_index_are_recalled_as_they_are_now_and_by_their_project_alone()
    {
        var host = await Ready();
        foreach (var (key, project) in ((string, ProjectKey?)[])[("g", null), ("s", Sales), ("r", Research), ("gone", null), ("new", null)])
        {
            Assert.Null(await Do(host, Fact(key, key == "new" ? "The ferry leaves at nine." : "The zeppelin leaves at nine.", project)));
        }
        Assert.Null(await Do(host, new DeleteMemory(new("gone"))));
        for (var i = 0; i < MemoryIndex.NewestMax; i++)
        {
            Assert.Null(await Do(host, Fact($"m{i}", $"It leaves at {i}.", Research)));
        }
        Assert.Null(await Do(host, new ChangeMemory(new("new"), Content.Of("The zeppelin leaves at ten."))));
        await new Projector(harness.Engine, ReadModels.AsyncProjections, harness.Clock, NullLogger<Projector>.Instance).CatchUp(default);
        foreach (var index in (MemoryIndex[])[host.Memories, harness.AddHost("b").Memories])
        {
            foreach (var (project, expected) in ((ProjectKey?, string)[])[(null, "g new"), (Sales, "g new s"), (Research, "g new r")])
            {
                Assert.Equal(expected, string.Join(' ', (await index.All(Org, project, "zeppelin", 10, default)).Select(memory => memory.From.Id.Value).Order()));
            }
        }
        await Consistent();
    }

    [Fact]
    public async Task A_deleted_project_takes_its_facts_with_it_and_nothing_is_kept_there_any_more()
    {
        var (host, other) = (await Ready(), harness.AddHost("b"));
        Assert.Null(await Do(host, Fact("g", "The kraken sleeps.")));
        for (var i = 0; i < 450; i++)
        {
            Assert.Null(await Do(host, Fact($"s{i}", $"The kraken has {i} arms.", Sales)));
        }
        Assert.Null(await Do(host, new KeepMemory(new("agent"), Memory.Fact, Content.Of("The kraken eats."), new("sales"), new("none"))));
        Assert.Null(await Do(other, Fact("known", "x", Sales)));
        Assert.Null(await Do(host, new DeleteProject(Sales)));
        Assert.Equal("not_found", await Do(other, Fact("late", "x", Sales)));
        Assert.Equal("not_found", await Do(other, new KeepMemory(new("later"), Memory.Fact, Content.Of("x"), new("sales"), new("none"))));
        await host.Deletion.Sweep(Org, RunHarness.User, Sales, default);
        Assert.Equal("g", Assert.Single(harness.Engine.All(Org, MemoryPlaces.Model.Table)).Key);
        Assert.Equal(["g"], harness.Engine.All(Org, Memories.Model.Table).Where(row => Memories.Model.Read(row.Json.Span).Kind == Memory.Fact).Select(row => row.Key));
        await Consistent();
    }

    [Fact]
    public async Task What_the_agent_remembered_in_a_conversation_that_was_deleted_is_neither_retrieved_nor_changed()
    {
        var host = await Ready();
        Assert.Null(await Do(host, new KeepMemory(new("agent"), Memory.Fact, Content.Of("The kraken eats."), new("general"), new("none"))));
        Assert.Null(await Do(host, new ChangeMemory(new("agent"), Content.Of("The kraken drinks."))));
        Assert.Equal("agent.2", await Reminded(host, "sales", "kraken"));
        Assert.Null(await Do(host, new DeleteSession(new("general"))));
        Assert.Equal("", await Reminded(host, "sales", "kraken"));
        Assert.Equal("not_found", await Do(host, new ChangeMemory(new("agent"), Content.Of("x"))));
        Assert.Equal("not_found", await Do(host, new DeleteMemory(new("agent"))));
        var page = await ((IRows)harness.Engine).Page(Org, MemoryPlaces.Model.Table, new(ProjectKey.General.Value, Owner: Memories.Owner), 0, default);
        Assert.Equal(0, page.Total);
    }

    async Task Consistent()
    {
        await new Projector(harness.Engine, ReadModels.AsyncProjections, harness.Clock, NullLogger<Projector>.Instance).CatchUp(default);
        foreach (var model in ReadModels.Tables)
        {
            Assert.Null(await ((IRows)harness.Engine).FindDifference(model, default));
        }
    }
}
