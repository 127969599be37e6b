using System.Text.Json;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>Skills across hosts: one name, versions that stay, runs that say what they were made from.</summary>
public sealed class SkillSpecs
{
    static readonly SkillKey First = new("01k9sk1110000000000000000a");
    static readonly SkillKey Second = new("01k9sk1110000000000000000b");

    readonly RunHarness bench = new();

    static SkillDefinition Template(string text, string name = "churn") =>
        new(name, "", "{}", Content.Of(text), SkillTemplate.Parse(text).Template!.RequiredParams, null, []);

    static SkillChange Changed(string text) => new(PromptTemplate: Content.Of(text), RequiredParams: SkillTemplate.Parse(text).Template!.RequiredParams);

    static JsonElement Json(string text) => JsonElement.Parse(text);

    static async Task<string?> Do(RunHarness.Host host, ICommand command) => (await ((ICommandExecutor)host.Commands).Execute(RunHarness.Org, RunHarness.User, command, default)).Refused?.Code;

    async Task<RunHarness.Host> Ready(string template = "Show churn by {dimension}.")
    {
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        Assert.Null(await Do(host, new CreateSkill(First, Template(template))));
        return host;
    }

    async Task<RunEvent.RunCreated> Created(RunKey run) =>
        (RunEvent.RunCreated)(await bench.Engine.Load(RunHarness.Org, $"run-{run.Value}", 0, 1, default)).Events[0].Event;

    static Task<(Turn? Turn, Refusal? Refused)> Run(RunHarness.Host host, int? version, string? given, string? key = null) =>
        host.Skills.Submit(RunHarness.Org, RunHarness.User, new("s"), new(First, version, given is null ? null : Json(given)), null, key, null, default);

    [Fact]
    public async Task A_run_says_which_version_it_was_made_from()
    {
        var host = await Ready();
        Assert.Null(await Do(host, new AddSkillVersion(First, Changed("Now by {dimension}, {period}."))));
        var latest = await Created((await Run(host, null, """{"dimension":"cohort","period":"Q1"}""")).Turn!.Run);
        Assert.Equal((new RunSource(First, 2), Content.Of("Now by cohort, Q1.")), (latest.Source, latest.Message));
        var first = await Created((await Run(host, 1, """{"dimension":"cohort"}""")).Turn!.Run);
        Assert.Equal((new RunSource(First, 1), Content.Of("Show churn by cohort.")), (first.Source, first.Message));
        await Consistent();
    }

    [Theory]
    [InlineData("""{"a":"x"}""", "[x]")]
    [InlineData("""{"a":1.50}""", "[1.50]")]
    [InlineData("""{"a":-2e3}""", "[-2e3]")]
    [InlineData("""{"a":true}""", "[true]")]
    [InlineData("""{"a":false,"b":{"ignored":[1]}}""", "[false]")]
    [InlineData("""{"a":"{a}\n\"😀\""}""", "[{a}\n\"😀\"]")]
    [InlineData("""{"a":""}""", "[]")]
    [InlineData("""{"a":null}""", "missing_params 400")]
    [InlineData("{}", "missing_params 400")]
    [InlineData(null, "missing_params 400")]
    [InlineData("""{"A":"x"}""", "missing_params 400")]
    [InlineData("""{"a":[1]}""", "invalid_request 422")]
    [InlineData("""{"a":{}}""", "invalid_request 422")]
    public async Task Parameters_are_put_in_as_text(string? given, string expected)
    {
        var host = await Ready("[{a}]");
        var (rendered, refused) = await host.Skills.Render(RunHarness.Org, new(First, null, given is null ? null : Json(given)), default);
        Assert.Equal(expected, rendered?.Prompt ?? $"{refused!.Code} {refused.Status}");
    }

    [Fact]
    public async Task What_cannot_be_run_is_refused_and_starts_nothing()
    {
        var host = await Ready();
        Assert.Null(await Do(host, new CreateSkill(Second, new("rules", "", "{}", null, [], Content.Of("Use tables."), ["recall"]))));
        Assert.Equal("not_found", (await Run(host, 2, """{"dimension":"x"}""")).Refused!.Code);
        var none = await host.Skills.Submit(RunHarness.Org, RunHarness.User, new("s"), new(Second, null, null), null, null, null, default);
        Assert.Equal("skill_without_template", none.Refused!.Code);
        Assert.Equal("not_found", (await host.Skills.Submit("other", RunHarness.User, new("s"), new(First, null, null), null, null, null, default)).Refused!.Code);
        Assert.Equal("not_found", (await host.Skills.Submit(RunHarness.Org, RunHarness.User, new("t"), new(First, null, Json("""{"dimension":"x"}""")), null, null, null, default)).Refused!.Code);
        Assert.Empty(bench.Engine.Jobs);
    }

    [Fact]
    public async Task The_same_request_is_one_run_although_the_latest_version_is_another_by_then()
    {
        var host = await Ready();
        var first = (await Run(host, null, """{"dimension":"cohort","x":1}""", "k")).Turn!;
        Assert.Null(await Do(host, new AddSkillVersion(First, Changed("By {dimension} and {more}."))));
        var again = (await Run(host, null, """{"x":1, "dimension":"cohort"}""", "k")).Turn!; // refused by itself: "more" is missing
        Assert.Equal((first.Run, true), (again.Run, again.Reused));
        Assert.Null(await Do(host, new AddSkillVersion(First, Changed("By {dimension}, again."))));
        Assert.Equal(first.Run, (await Run(host, null, """{"dimension":"cohort","x":1}""", "k")).Turn!.Run);
        Assert.Equal("idempotency_key_reused", (await Run(host, null, """{"dimension":"other"}""", "k")).Refused!.Code);
        Assert.Equal("missing_params", (await Run(host, 2, "{}", "k2")).Refused!.Code);
        Assert.Null(await Do(host, new DeleteSkill(First)));
        Assert.Equal(first.Run, (await Run(host, null, """{"dimension":"cohort","x":1}""", "k")).Turn!.Run);
        Assert.Equal("not_found", (await Run(host, null, """{"dimension":"cohort"}""", "k3")).Refused!.Code);
    }

    [Fact]
    public async Task Of_two_hosts_that_take_one_name_at_once_one_gets_it()
    {
        var (a, b) = (bench.AddHost("n0"), bench.AddHost("n1"));
        for (var i = 0; i < 50; i++)
        {
            var name = $"n{i}";
            SkillKey[] keys = [SkillKey.New(bench.Clock.GetUtcNow()), SkillKey.New(bench.Clock.GetUtcNow())];
            var outcomes = await Task.WhenAll(
                Task.Run(() => Do(a, new CreateSkill(keys[0], Template("x", name)))), Task.Run(() => Do(b, new CreateSkill(keys[1], Template("x", name)))));
            Assert.Equal([null, "skill_exists"], outcomes.Order());
        }
        await Consistent();
    }

    [Fact]
    public async Task Two_hosts_that_add_versions_at_once_number_them_in_a_row()
    {
        var a = await Ready("{a}");
        var b = bench.AddHost("n1");
        await Task.WhenAll(Enumerable.Range(0, 40).Select(i => Task.Run(() => Do(i % 2 == 0 ? a : b, new AddSkillVersion(First, Changed($"{{a}} {i}"))))));
        var live = (Skill.Live)await a.Commands.LatestState(RunHarness.Org, Skill.Aggregate, First, default);
        Assert.Equal(Enumerable.Range(1, 41), live.Versions.Select(v => v.Version));
        await Consistent();
    }

    [Fact]
    public async Task A_version_that_another_host_added_is_the_latest_here()
    {
        var a = await Ready("{a}");
        var b = bench.AddHost("n1");
        Assert.Equal(1, (await b.Skills.Render(RunHarness.Org, new(First, null, Json("""{"a":1}""")), default)).Rendered!.Source.SkillVersion);
        Assert.Null(await Do(a, new AddSkillVersion(First, Changed("{a}!"))));
        Assert.Equal("1!", (await b.Skills.Render(RunHarness.Org, new(First, null, Json("""{"a":1}""")), default)).Rendered!.Prompt);
    }

    [Fact]
    public async Task A_name_is_free_again_when_its_skill_is_renamed_or_gone()
    {
        var host = await Ready("x");
        Assert.Equal("skill_exists", await Do(host, new CreateSkill(Second, Template("y"))));
        Assert.Null(await Do(host, new AddSkillVersion(First, new(Name: "renamed"))));
        Assert.Null(await Do(host, new CreateSkill(Second, Template("y"))));
        Assert.Equal("skill_exists", await Do(host, new AddSkillVersion(First, new(Name: "churn"))));
        Assert.Null(await Do(host, new DeleteSkill(Second)));
        Assert.Null(await Do(host, new AddSkillVersion(First, new(Name: "churn"))));
        Assert.Equal("not_found", await Do(host, new DeleteSkill(Second)));
        var live = (Skill.Live)await host.Commands.State(RunHarness.Org, Skill.Aggregate, First, default);
        Assert.Equal(["churn", "renamed", "churn"], live.Versions.Select(v => v.Definition.Name));
        await Consistent();
    }

    [Fact]
    public async Task What_a_version_does_not_say_stays_as_it_was()
    {
        var host = bench.AddHost("n0");
        var both = new SkillDefinition("both", "d", """{"a":1}""", Content.Of("{p}"), ["p"], Content.Of("Use tables."), ["recall"]);
        Assert.Null(await Do(host, new CreateSkill(First, both)));
        Assert.Null(await Do(host, new AddSkillVersion(First, new(Instructions: Optional<Content>.Of(Content.Of("Use lists."))))));
        Assert.Null(await Do(host, new AddSkillVersion(First, new(Description: "e", Tools: []))));
        var live = (Skill.Live)await host.Commands.State(RunHarness.Org, Skill.Aggregate, First, default);
        Assert.Equal(both with { Instructions = Content.Of("Use lists.") }, live.Versions[1].Definition);
        Assert.Equal(both with { Instructions = Content.Of("Use lists."), Description = "e", Tools = live.Latest.Definition.Tools }, live.Latest.Definition);
        Assert.Empty(live.Latest.Definition.Tools);
    }

    [Fact]
    public async Task A_change_that_changes_nothing_makes_no_version_and_keeps_the_template_of_the_other_contract()
    {
        var host = await Ready();
        Task<string?> Change(SkillChange change) => Do(host, new AddSkillVersion(First, change, OnlyIfDifferent: true));
        Assert.Null(await Change(new()));
        Assert.Null(await Change(new(Name: "churn", Tools: [])));
        Assert.Null(await Change(new(Instructions: Optional<Content>.Of(Content.Of("Use tables.")), Tools: ["recall"])));
        Assert.Null(await Change(new(Instructions: Optional<Content>.Of(Content.Of("Use tables.")), Tools: ["recall"])));
        Assert.Null(await Change(new(Instructions: Optional<Content>.Of(null))));
        var live = (Skill.Live)await host.Commands.State(RunHarness.Org, Skill.Aggregate, First, default);
        Assert.Equal([null, Content.Of("Use tables."), null], live.Versions.Select(version => version.Definition.Instructions));
        Assert.All(live.Versions, version => Assert.Equal(Content.Of("Show churn by {dimension}."), version.Definition.PromptTemplate));
        Assert.Null(await Do(host, new AddSkillVersion(First, new()))); // contract A asks for a version, and gets one
        Assert.Equal(4, ((Skill.Live)await host.Commands.State(RunHarness.Org, Skill.Aggregate, First, default)).Latest.Version);
        await Consistent();
    }

    async Task Consistent()
    {
        foreach (var model in ReadModels.All)
        {
            Assert.Null(await ((IRows)bench.Engine).FindDifference(model, default));
        }
    }
}
