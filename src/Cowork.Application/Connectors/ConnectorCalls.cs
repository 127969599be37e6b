using Cowork.Application.Storage;
using Cowork.Domain;

using Microsoft.Extensions.Logging;

namespace Cowork.Application;

/// <summary>
/// Calls connectors: in time whatever the source does, never with an exception of theirs, and without the secrets of the connection in what comes back.
/// </summary>
public sealed partial class ConnectorCalls(ConnectorCatalog catalog, TimeProvider clock, ILogger<ConnectorCalls> logger)
{
    /// <summary>A connector ends its call itself, and knows best what it waited for: it is cancelled only a little later.</summary>
    static readonly TimeSpan Late = TimeSpan.FromSeconds(1);

    /// <summary>For one that is stuck in its driver.</summary>
    static readonly TimeSpan Grace = TimeSpan.FromSeconds(3);

    /// <summary>Reaches the source.</summary>
    /// <exception cref="InvalidOperationException">This host has no such connector.</exception>
    public async ValueTask<ProbeOutcome> Probe(ConnectionSettings settings, CancellationToken ct)
    {
        var connector = Of(settings);
        var probe = await Bounded(
            connector, settings, ConnectorLimits.ProbeTime, token => connector.Probe(settings, token), why => Application.Probe.Failed(why), ct);
        return new(probe.WhyNot is { } reason ? Plain(SecretScrubber.Of(settings, connector.Spec), reason) : null);
    }

    /// <summary>What the request would do; a write when that cannot be found out.</summary>
    /// <exception cref="InvalidOperationException">This host has no such connector.</exception>
    public ValueTask<ConnectorEffect> Judge(ConnectionSettings settings, ConnectorRequest request, CancellationToken ct)
    {
        var connector = Of(settings);
        return Bounded(connector, settings, ConnectorLimits.ProbeTime, token => connector.Judge(settings, request, token), _ => ConnectorEffect.Write, ct);
    }

    /// <summary>Asks the source.</summary>
    /// <exception cref="InvalidOperationException">This host has no such connector.</exception>
    public async ValueTask<ConnectorAnswer> Ask(ConnectionSettings settings, ConnectorRequest request, CancellationToken ct)
    {
        var connector = Of(settings);
        var answer = await Bounded(
            connector, settings, ConnectorLimits.AskTime, token => connector.Ask(settings, request, token), why => new ConnectorAnswer.Failed(why, IsUnreachable: true), ct);
        var scrubber = SecretScrubber.Of(settings, connector.Spec);
        return answer switch
        {
            ConnectorAnswer.Table table => new ConnectorAnswer.Table(
                [.. table.Columns.Select(scrubber.Scrub)],
                [.. table.Rows.Take(ConnectorLimits.RowsMax).Select(row => (IReadOnlyList<string?>)[.. row.Select(cell => cell is null ? null : scrubber.Scrub(cell))])],
                table.Cut),
            ConnectorAnswer.Text text => text with { Content = scrubber.Scrub(text.Content) },
            ConnectorAnswer.Tools tools => Scrubbed(scrubber, tools),
            ConnectorAnswer.Failed failed => failed with { Reason = Plain(scrubber, failed.Reason) },
            _ => throw new System.Diagnostics.UnreachableException(answer.GetType().Name),
        };
    }

    /// <summary>What is wrong with fields, beyond what their spec tells.</summary>
    public IEnumerable<FieldFault> Check(ConnectionSettings settings) => Of(settings).Check(settings);

    IConnector Of(ConnectionSettings settings) =>
        catalog.Find(settings.Spec) ?? throw new InvalidOperationException($"This host has no connector {settings.Spec}.");

    static string Plain(SecretScrubber scrubber, string reason)
    {
        var plain = VisibleText.Of(StorableText.Escape(scrubber.Scrub(reason)));
        return plain.Length <= ConnectorLimits.ReasonCharsMax ? plain : FileText.Truncate(plain, ConnectorLimits.ReasonCharsMax - 1) + "…";
    }

    /// <summary>A name with a secret in it cannot be called by another name, so that such a tool is left out.</summary>
    static ConnectorAnswer.Tools Scrubbed(SecretScrubber scrubber, ConnectorAnswer.Tools tools)
    {
        var told = tools.Listed.Where(tool => scrubber.Scrub(tool.Name) != tool.Name).Select(tool => new UnusableTool(null, "Its name has a secret of the connection in it."));
        return tools with
        {
            Listed =
            [
                .. tools.Listed.Where(tool => scrubber.Scrub(tool.Name) == tool.Name)
                    .Select(tool => tool with { Description = scrubber.Scrub(tool.Description), InputSchema = scrubber.Scrub(tool.InputSchema) }),
            ],
            Unusable = [.. tools.Unusable.Select(tool => tool with { Name = tool.Name is null ? null : scrubber.Scrub(tool.Name) }), .. told],
        };
    }

    async ValueTask<T> Bounded<T>(
        IConnector connector, ConnectionSettings settings, TimeSpan time, Func<CancellationToken, ValueTask<T>> call, Func<string, T> failed, CancellationToken ct)
    {
        using var late = new CancellationTokenSource(time + Late, clock);
        var linked = CancellationTokenSource.CreateLinkedTokenSource(late.Token, ct);
        // Drivers may block before they wait for the first time.
        var task = Task.Run(async () => await call(linked.Token), CancellationToken.None);
        _ = task.ContinueWith(_ => linked.Dispose(), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        try
        {
            return await task.WaitAsync(time + Grace, clock, ct);
        }
        catch (OperationCanceledException) when (ct.IsCancellationRequested)
        {
            throw;
        }
        catch (Exception e) when (e is TimeoutException or OperationCanceledException)
        {
            return failed($"The source did not answer within {time.TotalSeconds:0} seconds.");
        }
        catch (Exception e) when (e is not StorageUnavailableException and not SecretUnreadableException)
        {
            // The message of an exception of a driver may hold a password, and its text the whole request.
            LogFailed(logger, connector.Spec.Id, settings.Connection, e.GetType().Name);
            return failed("The connector failed.");
        }
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "The connector {Spec} failed for {Connection} with a {Exception}")]
    static partial void LogFailed(ILogger logger, string spec, ConnectionKey connection, string exception);
}
