using Xunit;

using static Cowork.Domain.ConnectionCommand;
using static Cowork.Domain.ConnectionEvent;

namespace Cowork.Domain.Tests;

public sealed class ConnectionSpec
{
    static readonly Spec<ConnectionKey, ConnectionCommand, ConnectionEvent, Connection> Spec = new(Connection.Aggregate);
    static readonly ConnectionKey Key = new("01kdvkjr000000000000000031");
    static readonly SealedSecret First = new("key_1", "AAAA");
    static readonly SealedSecret Second = new("key_1", "BBBB");
    static readonly ProbeOutcome Reached = new();
    static readonly ProbeOutcome Unreached = new("The server refused the user or the password.");
    static readonly ConnectionCreated Created = new(Key, "postgres", "prod-db", A.Morning, First);
    static readonly ConnectionProbed Connected = new(Reached, A.Morning);

    [Fact]
    public void A_connection_is_created_once_with_the_outcome_of_its_probe()
    {
        Spec.Given().When(new Create(Key, "postgres", "prod-db", First, Reached, A.Morning)).Then(Created, Connected);
        Spec.Given(Created, Connected).When(new Create(Key, "postgres", "prod-db", Second, Unreached, A.Morning)).ThenNothing();
        Spec.Given().When(new Create(Key, "notion", "docs", null, null, A.Morning)).Then(new ConnectionCreated(Key, "notion", "docs", A.Morning));
    }

    [Fact]
    public void Other_credentials_are_for_the_revision_that_was_read()
    {
        Spec.Given(Created).When(new ReplaceSecret(1, Second, Reached, A.Morning)).Then(new ConnectionSecretReplaced(Second, A.Morning, IsRefresh: true), Connected);
        Spec.Given(Created).When(new ReplaceSecret(null, Second, null, A.Morning)).Then(new ConnectionSecretReplaced(Second, A.Morning));
        Spec.Given(Created, new ConnectionSecretReplaced(Second, A.Morning)).When(new ReplaceSecret(1, First, Reached, A.Morning)).ThenNothing();
    }

    [Fact]
    public void An_outcome_for_replaced_credentials_says_nothing_of_the_present_ones()
    {
        Spec.Given(Created).When(new RecordProbe(1, Unreached, A.Morning)).Then(new ConnectionProbed(Unreached, A.Morning));
        Spec.Given(Created, new ConnectionSecretReplaced(Second, A.Morning)).When(new RecordProbe(1, Unreached, A.Morning)).ThenNothing();
        Spec.Given(new ConnectionCreated(Key, "notion", "docs", A.Morning)).When(new RecordProbe(0, Reached, A.Morning)).ThenNothing();
    }

    [Fact]
    public void What_a_refresh_brought_opens_the_same_and_an_outcome_for_what_was_before_holds()
    {
        var refreshed = new ConnectionSecretReplaced(Second, A.Morning, IsRefresh: true);
        Spec.Given(Created, refreshed).When(new RecordProbe(1, Unreached, A.Morning)).Then(new ConnectionProbed(Unreached, A.Morning));
        Spec.Given(Created, refreshed).When(new RecordProbe(2, Unreached, A.Morning)).Then(new ConnectionProbed(Unreached, A.Morning));
        Spec.Given(Created, refreshed).When(new RecordProbe(3, Unreached, A.Morning)).ThenNothing();
        Spec.Given(Created, new ConnectionSecretReplaced(Second, A.Morning), refreshed).When(new RecordProbe(1, Unreached, A.Morning)).ThenNothing();
    }

    [Fact]
    public void A_deleted_connection_keeps_what_its_source_is_to_take_back() =>
        Assert.Equal(new Connection.Deleted("postgres", First), Spec.Given(Created, new ConnectionDeleted(A.Morning)).State);

    [Fact]
    public void Encrypting_anew_keeps_the_revision_and_never_brings_old_credentials_back()
    {
        var anew = new SealedSecret("key_2", "CCCC");
        Spec.Given(Created).When(new Reencrypt(1, anew, A.Morning)).Then(new ConnectionReencrypted(anew, A.Morning));
        Spec.Given(Created, new ConnectionReencrypted(anew, A.Morning)).When(new Reencrypt(1, anew, A.Morning)).ThenNothing();
        Spec.Given(Created, new ConnectionReencrypted(anew, A.Morning)).When(new RecordProbe(1, Reached, A.Morning)).ThenSome();
        Spec.Given(Created, new ConnectionSecretReplaced(Second, A.Morning)).When(new Reencrypt(1, anew, A.Morning)).ThenNothing();
        Spec.Given(new ConnectionCreated(Key, "notion", "docs", A.Morning)).When(new Reencrypt(0, anew, A.Morning)).ThenNothing();
    }

    [Fact]
    public void A_name_is_changed_once()
    {
        Spec.Given(Created).When(new Rename("warehouse", A.Morning)).Then(new ConnectionRenamed("warehouse", A.Morning));
        Spec.Given(Created).When(new Rename("prod-db", A.Morning)).ThenNothing();
    }

    [Fact]
    public void A_deleted_connection_is_not_found()
    {
        Spec.Given(Created).When(new Delete(A.Morning)).Then(new ConnectionDeleted(A.Morning));
        foreach (var command in (ConnectionCommand[])
        [
            new Create(Key, "postgres", "prod-db", First, Reached, A.Morning), new Rename("x", A.Morning), new ReplaceSecret(null, Second, null, A.Morning),
            new RecordProbe(1, Reached, A.Morning), new Reencrypt(1, Second, A.Morning), new Delete(A.Morning),
        ])
        {
            Spec.Given(Created, new ConnectionDeleted(A.Morning)).When(command).ThenRefused("not_found");
        }
        Spec.Given().When(new Delete(A.Morning)).ThenRefused("not_found");
    }
}
