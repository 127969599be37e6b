using Cowork.Application;

namespace Cowork.Connectors;

/// <summary>A web service with OAuth 2.0: requests below its base URL, with the tokens that its user's agreement gave.</summary>
public sealed class OAuthConnector(
    OAuthSpec spec, OAuthRegistrations registrations, EgressFence fence, OAuthClient client, ConnectionTokens tokens, TimeProvider clock) : IConnector, IDisposable
{
    readonly HttpMessageInvoker http = new(fence.NewHandler(ConnectorLimits.ProbeTime));

    /// <summary>Null: the administrator has not registered this host there.</summary>
    readonly OAuthProvider? provider = registrations.BySpec.GetValueOrDefault(spec.Id);

    public ConnectorSpec Spec { get; } = spec.ToConnectorSpec();

    public async ValueTask<Probe> Probe(ConnectionSettings settings, CancellationToken ct)
    {
        using var time = new CancellationTokenSource(ConnectorLimits.ProbeTime, clock);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(ct, time.Token);
        var (answer, status) = await Send(settings, new(new(HttpMethod.Get, provider?.Probe ?? "", [], null, null), 1, null), linked.Token);
        ct.ThrowIfCancellationRequested();
        return answer is ConnectorAnswer.Failed failed ? Application.Probe.Failed(failed.Reason)
            : status is >= 500 or 403 ? Application.Probe.Failed($"{Spec.Name} answers {status}.")
            : Application.Probe.Connected;
    }

    public ValueTask<ConnectorEffect> Judge(ConnectionSettings settings, ConnectorRequest request, CancellationToken ct) =>
        ValueTask.FromResult(HttpConnector.Judge(request, spec.IsRead));

    public async ValueTask<ConnectorAnswer> Ask(ConnectionSettings settings, ConnectorRequest request, CancellationToken ct)
    {
        if (request is ConnectorRequest.Schema)
        {
            return new ConnectorAnswer.Text($"The web API of {spec.Name} at {(provider ?? spec.Usual).Api}. {HttpCall.Usage} Paths count from that address.");
        }
        if (WebRequest.Of(request, spec.IsRead, out var fault) is not { } asked)
        {
            return new ConnectorAnswer.Failed(fault!);
        }
        using var time = new CancellationTokenSource(ConnectorLimits.AskTime, clock);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(ct, time.Token);
        var (answer, _) = await Send(settings, asked, linked.Token);
        ct.ThrowIfCancellationRequested();
        return answer;
    }

    public ValueTask<string?> Revoke(ConnectionSettings settings, CancellationToken ct) =>
        provider is not null && settings[ConnectionTokens.AccessToken] is { } access
            ? client.Revoke(provider, access, settings[ConnectionTokens.RefreshToken], ct)
            : ValueTask.FromResult<string?>(null);

    public void Dispose() => http.Dispose();

    /// <summary>Sends a request, and once more with other tokens when the service does not take the first ones: then it has not done it.</summary>
    async ValueTask<(ConnectorAnswer Answer, int Status)> Send(ConnectionSettings settings, WebRequest request, CancellationToken ct)
    {
        if (provider is null)
        {
            return (Unreachable($"The administrator has not registered this host at {spec.Name} (Cowork:Connectors:OAuth:{spec.Id})."), 0);
        }
        try
        {
            for (var isRefused = false; ; isRefused = true)
            {
                var (usable, whyNot) = await tokens.Usable(provider, settings, isRefused, ct);
                if (usable is null)
                {
                    return (Unreachable(whyNot!), 0);
                }
                var (answer, status) = await new WebSource(http).Ask(Target(provider, usable), request, ct);
                if (status != 401 && !(answer is ConnectorAnswer.Text { Content: var text } && spec.IsRefusal(text[(text.IndexOf("\n\n", StringComparison.Ordinal) + 2)..])))
                {
                    return (answer, status);
                }
                if (isRefused)
                {
                    return (Unreachable($"{spec.Name} refuses the tokens. {ConnectionTokens.AgreeAgain}"), 401);
                }
                settings = usable;
            }
        }
        catch (OperationCanceledException)
        {
            return (Unreachable($"{spec.Name} did not answer in time."), 0);
        }
    }

    static ConnectorAnswer.Failed Unreachable(string why) => new(why, IsUnreachable: true);

    static WebTarget Target(OAuthProvider provider, ConnectionSettings settings) => new(
        BaseUrl.Parse(provider.Api, out _)!,
        [.. provider.Headers, new("Authorization", $"Bearer {settings[ConnectionTokens.AccessToken]}")]);
}
