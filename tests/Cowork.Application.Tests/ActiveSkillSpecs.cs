using System.Collections.Immutable;

using Cowork.Domain;
using Cowork.Projections;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>Skills that are active in runs: what the model is sent, which tools it may call, and what the run records.</summary>
public sealed class ActiveSkillSpecs
{
    static readonly SkillKey Brief = new("01k9sk1110000000000000000a");
    static readonly SkillKey Reader = new("01k9sk1110000000000000000b");
    static readonly SkillKey Plain = new("01k9sk1110000000000000000c");
    static readonly ProjectKey Sales = new("01kdvkjr000000000000000007");

    static readonly SkillDefinition OfBrief = Definition("weekly-report", "Be brief.");

    static SkillDefinition Definition(string name, string? instructions, params ImmutableList<string> tools) =>
        new(name, "d", "{}", null, [], instructions is null ? null : Content.Of(instructions), tools);

    static async Task<string?> Do(RunHarness.Host host, ICommand command) =>
        (await ((ICommandExecutor)host.Commands).Execute(RunHarness.Org, RunHarness.User, command, default)).Refused?.Code;

    static async Task<RunHarness.Host> Ready(RunHarness harness, params SkillKey[] ofProject)
    {
        var host = harness.AddHost("a");
        await Fill(host, ofProject);
        return host;
    }

    static async Task Fill(RunHarness.Host host, params SkillKey[] ofProject)
    {
        Assert.Null(await Do(host, new CreateSkill(Brief, OfBrief)));
        Assert.Null(await Do(host, new CreateSkill(Reader, Definition("reader", "Read first.", "read_file"))));
        Assert.Null(await Do(host, new CreateSkill(Plain, Definition("plain", null))));
        Assert.Null(await Do(host, new CreateProject(Sales, new("Sales", null, [], [.. ofProject], null))));
        Assert.Null(await Do(host, new OpenSession(new("s"), "/w", "{}", null, Project: Sales)));
    }

    static async Task<(Turn? Turn, Refusal? Refused)> Submit(RunHarness.Host host, string message, params SkillKey[] named) =>
        await host.Turns.Submit(
            RunHarness.Org, RunHarness.User, new(new("s"), message, null, null, null, Skills: new([.. named], Skill.NameAskedFor(message))), default);

    static async Task<RunKey> Send(RunHarness.Host host, string message, params SkillKey[] named) => (await Submit(host, message, named)).Turn!.Run;

    static async Task<string> Active(RunHarness harness, RunKey run) => string.Join(
        ' ', ((RunEvent.RunCreated)(await harness.Engine.Load(RunHarness.Org, $"run-{run.Value}", 0, 1, default)).Events[0].Event).Skills
            ?.Select(skill => $"{skill.Name}.{skill.Version}") ?? []);

    [Fact]
    public async Task A_run_has_the_projects_skills_then_the_one_that_its_message_names_then_those_of_the_request_each_once()
    {
        var harness = new RunHarness();
        var host = await Ready(harness, Reader, Plain);
        Assert.Equal("reader.1 plain.1", await Active(harness, await Send(host, "hello")));
        Assert.Equal("reader.1 plain.1 weekly-report.1", await Active(harness, await Send(host, "/weekly-report for Q2", Plain, Brief)));
        Assert.Equal("reader.1 plain.1", await Active(harness, await Send(host, "/no-such-skill for Q2")));
        // The agent service's turns have the project's skills, and their messages are text.
        Assert.Equal("reader.1 plain.1", await Active(harness, await host.Send("s", "/weekly-report for Q2")));
        await host.OpenSession("t");
        var plain = await host.Send("t", "hello");
        Assert.Equal("", await Active(harness, plain));
        Assert.Null(Runs.Model.Read((await harness.Engine.Get(RunHarness.Org, Runs.Model.Table, plain.Value, default))!.Json.Span).Skills);
    }

    [Fact]
    public async Task A_run_keeps_the_version_with_which_it_was_accepted_and_a_name_is_found_as_it_is_then()
    {
        var harness = new RunHarness();
        var (host, other) = (await Ready(harness), harness.AddHost("b"));
        var first = await Send(host, "/weekly-report");
        Assert.Null(await Do(other, new AddSkillVersion(Brief, new(Name: "daily-report", Instructions: Optional<Content>.Of(Content.Of("Be long."))))));
        Assert.Equal("", await Active(harness, await Send(host, "/weekly-report")));
        Assert.Equal("daily-report.2", await Active(harness, await Send(host, "/daily-report")));
        Assert.Equal("daily-report.2", await Active(harness, await Send(host, "hello", Brief)));
        Assert.Equal("weekly-report.1", await Active(harness, first));
        await host.Drive();
        Assert.Equal("weekly-report.1", await Active(harness, first));
    }

    [Fact]
    public async Task A_request_with_an_unknown_skill_is_refused_and_a_deleted_skill_of_the_project_is_left_out()
    {
        var harness = new RunHarness();
        var (host, other) = (await Ready(harness, Reader, Brief), harness.AddHost("b"));
        Assert.Equal("reader.1 weekly-report.1", await Active(harness, await Send(host, "hello")));
        Assert.Null(await Do(other, new DeleteSkill(Brief)));
        Assert.Equal("reader.1", await Active(harness, await Send(host, "/weekly-report please")));
        var refused = (await Submit(host, "hello", Plain, Brief)).Refused!;
        Assert.Equal(("unknown_skill", 422, "$.skill_ids[1]"), (refused.Code, refused.Status, refused.Path));
    }

    [Fact]
    public async Task Instructions_that_are_too_long_together_are_refused()
    {
        var harness = new RunHarness();
        var host = await Ready(harness);
        var keys = Enumerable.Range(0, 5).Select(i => new SkillKey($"01k9sk2220000000000000000{i}")).ToArray();
        foreach (var (i, key) in keys.Index())
        {
            Assert.Null(await Do(host, new CreateSkill(key, Definition($"long-{i}", new string('x', Limits.InstructionsBytesMax)))));
        }
        Assert.Null((await Submit(host, "hello", keys[..4])).Refused);
        Assert.Equal("instructions_too_long", (await Submit(host, "hello", keys)).Refused!.Code);
    }

    [Fact]
    public async Task The_model_is_sent_the_instructions_and_the_tools_of_the_skills_and_again_after_a_failure()
    {
        await using var harness = new ModelHarness("openai");
        await Fill(harness.Host, Reader);
        harness.Server.ThenStatus(503, "{}").ThenStream("""{"choices":[{"index":0,"delta":{"content":"done"},"finish_reason":"stop"}]}""", "[DONE]");
        var run = await Send(harness.Host, "/weekly-report for Q2");
        var first = (await harness.Server.NextRequest()).Body.GetRawText();
        Assert.Null(await Do(harness.Host, new AddSkillVersion(Reader, new(Instructions: Optional<Content>.Of(Content.Of("Never read.")), Tools: []))));
        await harness.Ended(run);
        var second = (await harness.Server.NextRequest()).Body.GetRawText();
        Assert.Contains("The skill reader is active. Read first.", first, StringComparison.Ordinal);
        Assert.Contains("The skill weekly-report is active. Be brief.", first, StringComparison.Ordinal);
        Assert.Contains("read_file", first, StringComparison.Ordinal);
        Assert.Equal(first, second);
    }

    [Fact]
    public async Task A_tool_that_no_skill_names_is_not_offered_and_a_call_of_it_is_refused_by_policy()
    {
        await using var harness = new ModelHarness("openai");
        await Fill(harness.Host);
        Assert.Null(await Do(harness.Host, new AddSkillVersion(Reader, new(Tools: ["recall"]))));
        harness.Server
            .ThenStream(
                """{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"read_file","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}""",
                "[DONE]")
            .ThenStream("""{"choices":[{"index":0,"delta":{"content":"done"},"finish_reason":"stop"}]}""", "[DONE]");
        var run = await Send(harness.Host, "hello", Reader, Plain);
        Assert.DoesNotContain("read_file", (await harness.Server.NextRequest()).Body.GetRawText(), StringComparison.Ordinal);
        await harness.Ended(run);
        Assert.Empty(harness.Harness.Tool.Calls);
        var events = await harness.Events(run);
        var verdict = Assert.Single(events.OfType<RunEvent.PolicyDecision>());
        Assert.Equal((PolicyOutcome.Deny, "skill_tools"), (verdict.Outcome, verdict.Rule));
        Assert.Equal((true, "c"), events.OfType<RunEvent.ToolResult>().Select(result => (result.IsError, result.Id)).Single());
    }

    [Fact]
    public async Task A_bundle_and_the_row_tell_the_skills_and_the_bundle_is_sound()
    {
        var harness = new RunHarness();
        var host = await Ready(harness, Reader);
        var run = await Send(host, "/weekly-report");
        await host.Drive();
        RunSkill[] skills = [new(Reader, "reader", 1), new(Brief, "weekly-report", 1)];
        Assert.Equal(skills, Runs.Model.Read((await harness.Engine.Get(RunHarness.Org, Runs.Model.Table, run.Value, default))!.Json.Span).Skills!);
        var bundle = (await TraceBundle.Build(harness.Engine, harness.Blobs, RunHarness.Org, new("s"), run, default))!;
        var (report, fault) = TraceVerifier.Verify(bundle);
        Assert.Null(fault);
        Assert.Equal(run.Id, report!.RunId);
        using var json = System.Text.Json.JsonDocument.Parse(bundle);
        Assert.Equal(
            """[{"id":"skill_01k9sk1110000000000000000b","name":"reader","version":1},{"id":"skill_01k9sk1110000000000000000a","name":"weekly-report","version":1}]""",
            json.RootElement.GetProperty("run").GetProperty("skills").GetRawText());
    }
}
