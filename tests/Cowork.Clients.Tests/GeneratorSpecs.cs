using System.Text.RegularExpressions;

namespace Cowork.Clients.Tests;

/// <summary>Clients that generators make of /openapi.json read as if somebody had written them, and compile.</summary>
public sealed partial class GeneratorSpecs(Generators generators) : IClassFixture<Generators>
{
    /// <summary>Names of all operations, as a method is named.</summary>
    IReadOnlyList<string> Operations =>
        [.. generators.Document["paths"]!.AsObject().SelectMany(path => path.Value!.AsObject()).Select(operation => (string)operation.Value!["operationId"]!)];

    [Fact]
    public async Task Redocly_has_nothing_to_say_under_its_recommended_rules() =>
        Assert.Empty((await generators.Redocly).GetProperty("problems").EnumerateArray().Select(p => $"{p.GetProperty("ruleId")}: {p.GetProperty("message")}"));

    [Fact]
    public async Task NSwag_makes_a_method_of_each_operation_and_its_client_compiles()
    {
        var (code, faults) = await generators.NSwag;
        Assert.Empty(faults.Take(10));
        var methods = Method().Matches(code).Select(m => (Name: m.Groups["name"].Value, Returns: m.Groups["returns"].Value)).Distinct().ToList();
        Assert.Equal(Operations.Select(name => $"{char.ToUpperInvariant(name[0])}{name[1..]}Async").Order(), methods.Select(m => m.Name).Order());
        var returns = methods.ToDictionary(m => m.Name, m => m.Returns);
        Assert.Equal(
            ("<TurnAnswer>", "<RunDetails>", "<ApprovalDetails>", "<EventList>", "<FileResponse>", ""),
            (returns["TakeTurnAsync"], returns["GetRunAsync"], returns["DecideApprovalAsync"], returns["ListEventsAsync"], returns["DownloadArtifactVersionAsync"],
                returns["DeleteSessionAsync"]));
        Assert.Contains("enum RunStatus", code, StringComparison.Ordinal);
        Assert.DoesNotContain("Status3", code, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Kiota_makes_a_path_of_each_address_and_its_client_compiles()
    {
        var (files, faults, said) = await generators.Kiota;
        Assert.Empty(faults.Take(10));
        string Method(string file, string verb) =>
            Regex.Match(files[file], $@"public async Task(?:<(?:[\w:.]+[.:])?(\w+)\??>)? {verb}Async\(").Groups[1].Value;
        Assert.Equal("TurnAnswer", Method("Sessions/Item/Turn/TurnRequestBuilder.cs", "Post"));
        Assert.Equal("CancelAnswer", Method("Runs/Item/Cancel/CancelRequestBuilder.cs", "Post"));
        Assert.Equal("SessionList", Method("Sessions/SessionsRequestBuilder.cs", "Get"));
        Assert.Equal("RunTrace", Method("Runs/Item/Trace/TraceRequestBuilder.cs", "Get"));
        Assert.Contains("Models/RunStatus.cs", files.Keys);
        Assert.Contains("Models/Problem.cs", files.Keys);
        // It wants an address to call, which the program that uses the client gives; of the three forms of the metrics it takes the first.
        Assert.Equal(2, Regex.Count(said, "^warn:", RegexOptions.Multiline));
    }

    [Fact]
    public async Task Types_for_TypeScript_have_every_operation_and_a_program_that_uses_them_compiles()
    {
        var types = await generators.TypeScript;
        Assert.All(Operations, name => Assert.Contains($"    {name}: {{", types, StringComparison.Ordinal));
        Assert.Contains("""RunStatus: "queued" | "running" | "approval_required" | "completed" | "failed" | "cancelled";""", types, StringComparison.Ordinal);
        Assert.Equal("", await generators.TypeScriptProgram);
    }

    [GeneratedRegex(@"public virtual async System\.Threading\.Tasks\.Task(?<returns><[\w.<>]+>)? (?<name>\w+)\(")]
    private static partial Regex Method();
}
