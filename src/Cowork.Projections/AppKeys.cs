using System.Collections.Immutable;

using Cowork.Application.Storage;
using Cowork.Domain;

namespace Cowork.Projections;

/// <summary>A key of an app for <c>GET /infra/app-keys</c> and for the verification of requests. A revoked key has no row.</summary>
/// <param name="App">Name of the app in its tenant.</param>
/// <param name="RegisteredBy">The principal.</param>
/// <param name="Issuers">The persons behind that principal; null: nobody else.</param>
public sealed record AppKeyRow(string App, string Kid, PublicKey Public, string RegisteredBy, DateTimeOffset RegisteredAt, ImmutableList<Issuer>? Issuers = null);

/// <summary>The read model of keys of apps.</summary>
public static class AppKeys
{
    public static ReadModel<AppKeyRow> Model { get; } = new("app_keys", AppKey.Aggregate.Name, RowJson.Default.AppKeyRow, Evolve)
    {
        Lists = RowLists.OfTenant,
    };

    public static AppKeyRow? Evolve(AppKeyRow? row, RecordedEvent e) => e.Event switch
    {
        AppKeyEvent.AppKeyRegistered r => new(r.App, r.Kid, r.Public, e.Actor, e.At, r.Issuers),
        AppKeyEvent.AppKeyRevoked => null,
        _ => row,
    };
}
