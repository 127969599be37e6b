using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>Projects and the conversations in them, on any number of hosts.</summary>
public sealed class ProjectSpecs
{
    static readonly ProjectKey Sales = new("01kdvkjr000000000000000007");
    readonly RunHarness harness = new();

    static async Task<string?> Do(RunHarness.Host host, ICommand command) =>
        (await ((ICommandExecutor)host.Commands).Execute(RunHarness.Org, RunHarness.User, command, default)).Refused?.Code;

    static OpenSession Conversation(string key, ProjectKey? project = null, string? goal = null) =>
        new(new(key), "/w", "{}", null, Project: project ?? Sales, Goal: goal is null ? null : Content.Of(goal));

    async Task<RunHarness.Host> HostWithProject(string? model = null)
    {
        var host = harness.AddHost("a");
        Assert.Null(await Do(host, new CreateProject(Sales, new("Sales", null, [], [], model))));
        return host;
    }

    static async Task<string?> Refused(RunHarness.Host host, string session) =>
        (await host.Turns.Submit(RunHarness.Org, RunHarness.User, new(new(session), "hello", null, null, null), default)).Refused?.Code;

    IReadOnlyList<Row> Sessions() => harness.Engine.All(RunHarness.Org, Projections.Sessions.Model.Table);

    async Task<RunRow> Run(RunKey run) => Runs.Model.Read((await harness.Engine.Get(RunHarness.Org, Runs.Model.Table, run.Value, default))!.Json.Span);

    [Fact]
    public async Task A_run_records_the_projects_model_and_the_conversations_goal_and_its_message_is_the_title()
    {
        var host = await HostWithProject(model: "scripted");
        Assert.Null(await Do(host, Conversation("s", goal: "Q2 revenue")));
        var run = await host.Send("s", "Hello there, agent");
        var created = (RunEvent.RunCreated)(await harness.Engine.Load(RunHarness.Org, Domain.Run.Aggregate.Stream(run), 0, 1, default)).Events[0].Event;
        Assert.Equal(("scripted", "Q2 revenue"), (created.Model, ((Content.Inline)created.Goal!).Text));
        var session = Projections.Sessions.Model.Read(Sessions().Single().Json.Span);
        Assert.Equal((Content.Of("Hello there, agent"), Sales), (session.Title, session.Project));
        Assert.Equal(["session_created", "run_queued"], await harness.Story("session-s"));
        await host.Drive();
        Assert.Equal("completed", (await Run(run)).Status);

        Assert.Null(await Do(host, new ChangeProject(Sales, new(null, default, null, null, Optional<string>.Of("other")))));
        Assert.Equal("other", (await Run(await host.Send("s", "again"))).Model);
        Assert.Equal(Content.Of("Hello there, agent"), Projections.Sessions.Model.Read(Sessions().Single().Json.Span).Title);
    }

    [Fact]
    public async Task A_project_is_deleted_with_all_its_conversations_and_their_runs_in_bounded_commits()
    {
        var host = await HostWithProject();
        for (var i = 0; i < 130; i++)
        {
            Assert.Null(await Do(host, Conversation($"s{i}")));
        }
        Assert.Null(await Do(host, Conversation("other", ProjectKey.General) with { Project = null }));
        var waiting = new List<RunKey>();
        for (var i = 0; i < 300; i++)
        {
            waiting.Add(await host.Send($"s{i % 3}", "hello"));
        }
        var largest = 0;
        harness.Engine.FailPoint = (commit, _) => largest = Math.Max(largest, commit.Writes.Count);
        Assert.Null(await Do(host, new DeleteProject(Sales)));
        await host.Deletion.Sweep(RunHarness.Org, RunHarness.User, Sales, default);
        Assert.InRange(largest, 50, 1_000);
        Assert.Equal("other", Assert.Single(Sessions()).Key);
        await host.Drive();
        foreach (var run in waiting)
        {
            Assert.Equal("cancelled", (await Run(run)).Status);
        }
        Assert.Empty(harness.Engine.All(RunHarness.Org, Projects.Model.Table));
        Assert.Equal("not_found", await Do(host, new DeleteProject(Sales)));
    }

    [Theory]
    [InlineData(0, true)]
    [InlineData(1, false)]
    [InlineData(1, true)]
    [InlineData(2, false)]
    [InlineData(2, true)]
    public async Task A_deletion_that_was_cut_short_is_finished_by_a_job(int commit, bool after)
    {
        var host = await HostWithProject();
        for (var i = 0; i < 120; i++)
        {
            Assert.Null(await Do(host, Conversation($"s{i}")));
        }
        harness.DieAt([(commit, after)]);
        await Assert.ThrowsAsync<HostDiedException>(async () =>
        {
            await Do(host, new DeleteProject(Sales));
            await host.Deletion.Sweep(RunHarness.Org, RunHarness.User, Sales, default);
        });
        host.Node.Die();
        Assert.NotEmpty(Sessions());
        harness.Engine.FailPoint = null;
        var other = harness.AddHost("b");
        harness.Clock.Advance(ProjectDeletion.TakenOverAfter);
        await other.Drive();
        Assert.Empty(Sessions());
        Assert.Empty(harness.Engine.Jobs);
    }

    [Fact]
    public async Task A_host_that_does_not_know_of_the_deletion_begins_nothing_in_the_project()
    {
        var (host, other) = (await HostWithProject(), harness.AddHost("b"));
        Assert.Null(await Do(other, Conversation("s")));
        Assert.Null(await Refused(other, "s"));
        Assert.Null(await Do(host, new DeleteProject(Sales)));
        Assert.Equal("not_found", await Do(other, Conversation("t")));
        Assert.Equal("not_found", await Refused(other, "s"));
        Assert.Equal("s", Assert.Single(Sessions()).Key);
    }

    [Fact]
    public async Task A_host_that_does_not_know_of_a_change_uses_the_new_model()
    {
        var (host, other) = (await HostWithProject("one"), harness.AddHost("b"));
        Assert.Null(await Do(other, Conversation("s")));
        Assert.Equal("one", (await Run(await other.Send("s", "hello"))).Model);
        Assert.Null(await Do(host, new ChangeProject(Sales, new(null, default, null, null, Optional<string>.Of("two")))));
        Assert.Equal("two", (await Run(await other.Send("s", "hello"))).Model);
    }

    [Fact]
    public async Task A_project_names_skills_that_exist_and_the_built_in_one_stays_as_it_is()
    {
        var host = harness.AddHost("a");
        var skill = new SkillKey("01kdvkjr000000000000000008");
        Assert.Equal("unknown_skill", await Do(host, new CreateProject(Sales, new("Sales", null, [], [skill], null))));
        Assert.Null(await Do(host, new CreateSkill(skill, new("report", "", "{}", null, [], Content.Of("Be brief."), []))));
        Assert.Null(await Do(host, new CreateProject(Sales, new("Sales", null, [], [skill], null))));
        Assert.Equal("project_built_in", await Do(host, new ChangeProject(ProjectKey.General, new("Mine", default, null, null, default))));
        Assert.Equal("project_built_in", await Do(host, new DeleteProject(ProjectKey.General)));
        Assert.Equal("not_found", await Do(host, Conversation("s", new ProjectKey("01kdvkjr000000000000000009"))));
    }
}
