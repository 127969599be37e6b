using System.Collections.Immutable;
using System.Globalization;
using System.Reflection;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Marten;
using Cowork.Web.Http;

namespace Cowork.Web;

/// <summary>Writes into the operators' log that this host works, under which settings, and that it was told to stop.</summary>
public sealed partial class HostJournal(ICommandExecutor commands, HostSettings settings, StorageEngine engine, TimeProvider clock, ILogger<HostJournal> logger)
{
    /// <summary>A host that stops does not wait longer for what it has to say.</summary>
    static readonly TimeSpan LastWriteMax = TimeSpan.FromSeconds(2);

    /// <summary>Version of the program, with the commit that it was built from.</summary>
    public static string Version { get; } = typeof(HostJournal).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "";

    /// <summary>Writes the start, waits for the stop, and writes it.</summary>
    public async Task Run(CancellationToken ct)
    {
        var node = engine.Node;
        try
        {
            var values = Values(settings);
            await Write(new RecordHostStart(node, Version, Digest(values), values), ct);
            await Task.Delay(Timeout.InfiniteTimeSpan, clock, ct);
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            using var deadline = new CancellationTokenSource(LastWriteMax, clock);
            try
            {
                await Write(new RecordHostStop(node), deadline.Token);
            }
            catch (Exception e) when (e is OperationCanceledException or StorageUnavailableException)
            {
                LogUnwritten(logger);
            }
        }
    }

    Task<CommandResult> Write<TCommand>(TCommand command, CancellationToken ct)
        where TCommand : ICommand =>
        commands.Execute(RequestAuthorization.LocalOrg, new Origin(Operators.HostActor), command, ct, waitForStorage: true).AsTask();

    /// <summary>What an auditor asks of a host's settings, ordered by name. No password, key or token is among them, and no address with one in it.</summary>
    public static ImmutableList<HostSetting> Values(HostSettings of)
    {
        var values = new SortedDictionary<string, string>(StringComparer.Ordinal)
        {
            ["Cowork:Approvals:ExpireAfter"] = Text(of.Approvals.ExpireAfter),
            ["Cowork:Approvals:FourEyes"] = Text(of.Approvals.FourEyes),
            ["Cowork:Auth:Authority"] = of.Oidc?.Authority ?? "",
            ["Cowork:Auth:Mode"] = of.TokenMode ? "token" : "local",
            ["Cowork:Bind"] = of.Bind.ToString(),
            ["Cowork:Blobs"] = of.S3 is { } bucket ? $"bucket {bucket.Bucket}" : of.Blobs ?? "",
            ["Cowork:Connectors:McpCommands"] = List(of.McpCommands.Keys),
            ["Cowork:Connectors:SqliteRoots"] = List(of.SqliteRoots),
            ["Cowork:Cors:Origins"] = List(of.CorsOrigins),
            ["Cowork:Database"] = of.Database is null ? "private" : "outside",
            ["Cowork:Egress:Allow"] = List(of.Egress.Select(target => target.ToString())),
            ["Cowork:Memory:Notes"] = of.Memory.NotesByModel ? "model" : "extract",
            ["Cowork:Models"] = List(of.Models.Select(model => $"{model.Name}={model.Provider}/{model.Model}")),
            ["Cowork:Policy:Rules"] = List(of.Policy.Rules.Select(rule => $"{rule.Name}={rule.Outcome.ToString().ToLowerInvariant()}"), ordered: false),
            ["Cowork:Policy:Sha256"] = Sha256(CanonicalJson.Of(Encoding.UTF8.GetBytes(PolicyFile.Write(of.Policy).ToJsonString()))),
            ["Cowork:Policy:ShowThinking"] = Text(of.Policy.ShowThinking),
            ["Cowork:Privacy:Seal"] = of.Seal.ToString().ToLowerInvariant(),
            ["Cowork:Retention:Security"] = $"{of.Retention.SecurityDays} days",
            ["Cowork:Retention:Sessions"] = $"{of.Retention.SessionsDays} days",
            ["Cowork:Runs:DefaultModel"] = of.Runs.DefaultModel,
            ["Cowork:Runs:IdempotencyKept"] = Text(of.Runs.IdempotencyKept),
            ["Cowork:Runs:Limits:Rounds"] = Text(of.Runs.Limits.Rounds),
            ["Cowork:Runs:Limits:Time"] = Text(of.Runs.Limits.Time),
            ["Cowork:Runs:Limits:Tokens"] = Text(of.Runs.Limits.Tokens),
            ["Cowork:Runs:Limits:ToolCalls"] = Text(of.Runs.Limits.ToolCalls),
            ["Cowork:Scheduler:Enabled"] = Text(of.Schedules),
            ["Cowork:Security:FoldEvery"] = Text(of.SecurityFold),
            ["Cowork:Tls"] = Text(of.Tls is not null),
            ["Cowork:Tokens:ExpireAfter"] = Text(of.Tokens.ExpireAfter),
            ["Cowork:TrustedProxies"] = List(of.TrustedProxies.Select(proxy => proxy.ToString())),
            ["Cowork:WorkspaceRoots"] = List(of.WorkspaceRoots.Select(root => root.Template)),
        };
        return [.. values.Select(value => new HostSetting(value.Key, StorableText.Escape(value.Value)))];
    }

    static string Digest(ImmutableList<HostSetting> values) => Sha256(CanonicalJson.Of(Encoding.UTF8.GetBytes(
        new JsonArray([.. values.Select(value => (JsonNode?)new JsonObject { ["name"] = value.Name, ["value"] = value.Value })]).ToJsonString())));

    static string Sha256(byte[] bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));

    static string Text(object? value) => value switch
    {
        null => "",
        bool isOn => isOn ? "true" : "false",
        IFormattable number => number.ToString(null, CultureInfo.InvariantCulture),
        _ => value.ToString() ?? "",
    };

    static string List(IEnumerable<string> values, bool ordered = true) => string.Join(", ", ordered ? values.Order(StringComparer.Ordinal) : values);

    [LoggerMessage(1, LogLevel.Warning, "That this host stops is not written down, because the database does not answer")]
    static partial void LogUnwritten(ILogger logger);
}
