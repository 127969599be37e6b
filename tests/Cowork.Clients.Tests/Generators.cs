using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;

using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;

using NJsonSchema.CodeGeneration.CSharp;

using NSwag;
using NSwag.CodeGeneration.CSharp;

namespace Cowork.Clients.Tests;

/// <summary>What the programs made of /openapi.json that others use on it. All of them run at once; <c>./cowork generators</c> installs them.</summary>
public sealed class Generators : IAsyncLifetime
{
    static readonly Lazy<IReadOnlyList<MetadataReference>> References = new(() =>
        [.. ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!).Split(Path.PathSeparator)
            .Where(file => Path.GetFileName(file) is var name && (name.StartsWith("System.", StringComparison.Ordinal) || name.StartsWith("Microsoft.Kiota.", StringComparison.Ordinal)))
            .Select(file => MetadataReference.CreateFromFile(file))]);

    readonly TestTenant tenant;
    readonly string root = RootOf(AppContext.BaseDirectory);
    readonly string folder = Directory.CreateTempSubdirectory("cowork-generators-").FullName;

    public Generators(SharedHost shared) => tenant = new(shared);

    public JsonNode Document { get; private set; } = null!;

    /// <summary>The report of <c>redocly lint</c> under the recommended rules.</summary>
    public Task<JsonElement> Redocly { get; private set; } = null!;

    /// <summary>The types of openapi-typescript.</summary>
    public Task<string> TypeScript { get; private set; } = null!;

    /// <summary>What the compiler says of a program that uses those types.</summary>
    public Task<string> TypeScriptProgram { get; private set; } = null!;

    /// <summary>The client of NSwag, and why it does not compile.</summary>
    public Task<(string Code, IReadOnlyList<string> Faults)> NSwag { get; private set; } = null!;

    /// <summary>The client of Kiota by file, why it does not compile, and what Kiota said.</summary>
    public Task<(IReadOnlyDictionary<string, string> Files, IReadOnlyList<string> Faults, string Said)> Kiota { get; private set; } = null!;

    /// <summary>The folder of what npm has installed.</summary>
    public static async Task<string> Modules()
    {
        var root = RootOf(AppContext.BaseDirectory);
        return Path.Combine((await Run("bash", [Path.Combine(root, "cowork"), "generators"], root)).Output.Trim(), "node_modules");
    }

    public async ValueTask InitializeAsync()
    {
        await tenant.InitializeAsync();
        var text = (await tenant.Http.Get("/openapi.json")).Is(200).Text;
        Document = JsonNode.Parse(text)!;
        await File.WriteAllTextAsync(Path.Combine(folder, "openapi.json"), text);
        var node = await Modules();
        Redocly = Lint(node);
        TypeScript = GenerateTypeScript(node);
        TypeScriptProgram = CompileTypeScript(node);
        NSwag = Task.Run(() => GenerateNSwag(text));
        Kiota = Task.Run(GenerateKiota);
    }

    public async ValueTask DisposeAsync()
    {
        await Task.WhenAll(Redocly, TypeScript, TypeScriptProgram, NSwag, Kiota).ContinueWith(_ => { }, TaskScheduler.Default);
        await tenant.DisposeAsync();
        Directory.Delete(folder, recursive: true);
    }

    async Task<JsonElement> Lint(string node) =>
        JsonElement.Parse((await Run("node", [Path.Combine(node, "@redocly/cli/bin/cli.js"), "lint", "openapi.json", "--extends=recommended", "--format=json"], folder)).Output);

    async Task<string> GenerateTypeScript(string node)
    {
        var (_, error, code) = await Run("node", [Path.Combine(node, "openapi-typescript/bin/cli.js"), "openapi.json", "-o", "cowork.d.ts"], folder);
        Assert.True(code == 0, error);
        return await File.ReadAllTextAsync(Path.Combine(folder, "cowork.d.ts"));
    }

    async Task<string> CompileTypeScript(string node)
    {
        await TypeScript;
        await File.WriteAllTextAsync(Path.Combine(folder, "program.ts"), """
            import type { components, operations, paths } from "./cowork";

            type Run = components["schemas"]["RunDetails"];
            type Turn = operations["takeTurn"]["requestBody"]["content"]["application/json"];
            type Answer = paths["/sessions/{session_id}/turn"]["post"]["responses"][200]["content"]["application/json"];

            export const turn: Turn = { message: "Hello" };
            // @ts-expect-error A message is no null.
            export const silent: Turn = { message: null };
            // @ts-expect-error No run has this status.
            export const status: Run["status"] = "ended";
            export const reply = (answer: Answer): string => answer.run.response ?? answer.status satisfies components["schemas"]["RunStatus"];
            """);
        return (await Run("node", [Path.Combine(node, "typescript/bin/tsc"), "--noEmit", "--strict", "--skipLibCheck", "--target", "es2022", "program.ts"], folder)).Output;
    }

    static async Task<(string Code, IReadOnlyList<string> Faults)> GenerateNSwag(string text)
    {
        var settings = new CSharpClientGeneratorSettings
        {
            ClassName = "CoworkClient",
            CSharpGeneratorSettings = { Namespace = "Cowork.NSwag", JsonLibrary = CSharpJsonLibrary.SystemTextJson, GenerateNullableReferenceTypes = true },
        };
        var code = new CSharpClientGenerator(await OpenApiDocument.FromJsonAsync(text), settings).GenerateFile();
        return (code, Compile([code]));
    }

    async Task<(IReadOnlyDictionary<string, string> Files, IReadOnlyList<string> Faults, string Said)> GenerateKiota()
    {
        var to = Path.Combine(folder, "kiota");
        string[] arguments =
            ["tool", "run", "kiota", "generate", "-d", Path.Combine(folder, "openapi.json"), "-l", "CSharp", "-o", to, "-n", "Cowork.Kiota", "-c", "CoworkClient", "--log-level", "Warning"];
        var (output, error, code) = await Run("dotnet", arguments, root);
        Assert.True(code == 0, output + error);
        var files = Directory.EnumerateFiles(to, "*.cs", SearchOption.AllDirectories).ToDictionary(file => Path.GetRelativePath(to, file).Replace('\\', '/'), File.ReadAllText);
        return (files, Compile(files.Values), output);
    }

    /// <summary>The errors of a compilation.</summary>
    static IReadOnlyList<string> Compile(IEnumerable<string> sources)
    {
        var options = new CSharpCompilationOptions(OutputKind.DynamicallyLinkedLibrary, nullableContextOptions: NullableContextOptions.Enable, concurrentBuild: true);
        var compilation = CSharpCompilation.Create("client", sources.Select(source => CSharpSyntaxTree.ParseText(source)), References.Value, options);
        return [.. compilation.GetDiagnostics().Where(d => d.Severity == DiagnosticSeverity.Error).Select(d => d.ToString())];
    }

    static async Task<(string Output, string Error, int Code)> Run(string program, string[] arguments, string folder)
    {
        var start = new ProcessStartInfo(program, arguments) { WorkingDirectory = folder, RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["KIOTA_OFFLINE_ENABLED"] = "true";
        start.Environment["REDOCLY_TELEMETRY"] = "off";
        start.Environment["REDOCLY_SUPPRESS_UPDATE_NOTICE"] = "true";
        using var process = Process.Start(start)!;
        var error = process.StandardError.ReadToEndAsync();
        var output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        return (output, await error, process.ExitCode);
    }

    static string RootOf(string directory) => File.Exists(Path.Combine(directory, "Cowork.sln")) ? directory : RootOf(Path.GetDirectoryName(directory)!);
}
