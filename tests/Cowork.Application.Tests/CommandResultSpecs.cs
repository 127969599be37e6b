using Cowork.Domain;
using Cowork.Projections;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>A command answers the streams that it decided on, with the rows that they were folded into, as its commit left them.</summary>
public sealed class CommandResultSpecs
{
    static readonly SkillKey Skill = new("01k9sk1110000000000000000a");

    static readonly SkillDefinition Definition = new("churn", "", "{}", Content.Of("/say 1"), [], null, []);

    readonly RunHarness bench = new();

    static Task<CommandResult> Do(RunHarness.Host host, ICommand command) =>
        ((ICommandExecutor)host.Commands).Execute(RunHarness.Org, RunHarness.User, command, default).AsTask();

    [Fact]
    public async Task The_rows_are_those_that_the_commit_wrote()
    {
        var host = bench.AddHost("n0");
        await Do(host, new CreateSkill(Skill, Definition));
        var after = (await Do(host, new AddSkillVersion(Skill, new(Description: "Second")))).On($"skill-{Skill.Value}");
        Assert.Equal((1, 2, Skill.Value, true), (after.Before, after.Version, after.Key, after.HasChanged));
        var stored = await bench.Engine.Get(RunHarness.Org, Skills.Model.Table, Skill.Value, default);
        Assert.Equivalent(Skills.Model.Read(stored!.Json.Span), after.Row(Skills.Model));
        Assert.Equal("Second", after.Row(SkillVersions.Model, SkillVersions.KeyOf(Skill, 2)).Definition.Description);
    }

    [Fact]
    public async Task What_changes_nothing_answers_the_rows_as_they_are()
    {
        var (first, second) = (bench.AddHost("n0"), bench.AddHost("n1"));
        await first.OpenSession("s");
        var run = await first.Send("s", "hello");
        await Do(first, new CancelRun(run, null));
        var again = (await Do(second, new CancelRun(run, null))).On($"run-{run.Value}");
        Assert.Equal((again.Before, false, "cancelled"), (again.Version, again.HasChanged, again.Row(Runs.Model).Status));
    }

    [Fact]
    public async Task What_is_refused_has_no_rows()
    {
        var host = bench.AddHost("n0");
        await Do(host, new CreateSkill(Skill, Definition));
        var result = await Do(host, new CreateSkill(new("01k9sk1110000000000000000b"), Definition));
        Assert.Equal(("skill_exists", 0), (result.Refused?.Code, result.Streams.Count));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_stream_can_be_looked_at_as_it_was_at_a_version(bool onAnotherHost)
    {
        var host = bench.AddHost("n0");
        await Do(host, new CreateSkill(Skill, Definition));
        for (var version = 2; version <= 5; version++)
        {
            await Do(host, new AddSkillVersion(Skill, new(Description: $"{version}")));
        }
        await Do(host, new DeleteSkill(Skill));
        var reader = onAnotherHost ? bench.AddHost("n1") : host;
        for (var version = 1; version <= 5; version++)
        {
            var then = await reader.Commands.At(RunHarness.Org, new($"skill-{Skill.Value}", version - 1, version), default);
            Assert.Equal((version, version == 1 ? "" : $"{version}"), (then.Row(Skills.Model).LatestVersion, then.Row(Skills.Model).Definition.Description));
        }
        var deleted = await reader.Commands.At(RunHarness.Org, new($"skill-{Skill.Value}", 5, 6), default);
        Assert.Throws<InvalidOperationException>(() => deleted.Row(Skills.Model));
    }
}
