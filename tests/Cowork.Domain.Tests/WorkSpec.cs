using Xunit;

using static Cowork.Domain.WorkCommand;
using static Cowork.Domain.WorkEvent;

namespace Cowork.Domain.Tests;

public sealed class WorkSpec
{
    const string Ann = "user:ann";

    static readonly Spec<WorkKey, WorkCommand, WorkEvent, Work> Spec = new(Work.Aggregate);
    static readonly WorkKey Id = WorkKey.FromId("work_01kdvkjr000000000000000009");
    static readonly WorkCard Card = new("Spring listing", Content.Of("{}"), null, ["spring"]);
    static readonly Content Payload = Content.Of("""{"a":1.0}""");
    static readonly WorkCreated Created = new(Id, Ann, WorkBuckets.Listings, Card, Payload, A.Morning);

    static Change Changed(WorkCard card, Content? payload = null, params long[]? onlyAt) => new(Ann, card, payload, onlyAt is null or [] ? null : [.. onlyAt], A.Morning);

    [Fact]
    public void A_work_is_created_once()
    {
        Spec.Given().When(new Create(Id, Ann, WorkBuckets.Listings, Card, Payload, null, A.Morning)).Then(Created);
        Spec.Given(Created).When(new Create(Id, Ann, WorkBuckets.Listings, Card, Payload, null, A.Morning)).ThenNothing();
        Spec.Given(Created).When(new Create(Id, "user:bob", WorkBuckets.Listings, Card, Payload, null, A.Morning)).ThenRefused("not_found");
    }

    [Fact]
    public void A_change_records_the_card_whole_and_the_payload_only_when_it_changed()
    {
        var next = Card with { Label = "Summer" };
        Spec.Given(Created).When(Changed(next)).Then(new WorkChanged(next, A.Morning));
        Spec.Given(Created).When(Changed(next, Payload)).Then(new WorkChanged(next, A.Morning));
        Spec.Given(Created).When(Changed(Card, Content.Of("{}"))).Then(new WorkChanged(Card, A.Morning, Content.Of("{}")));
        Spec.Given(Created).When(Changed(Card with { Tags = ["spring"] }, Payload)).ThenNothing();
        Spec.Given(Created).When(Changed(Card with { Tags = null })).ThenSome();
        // The same numbers in another form are another payload.
        Spec.Given(Created).When(Changed(Card, Content.Of("""{"a":1}"""))).ThenSome();
    }

    [Fact]
    public void A_work_is_there_for_its_owner_alone()
    {
        foreach (var command in (WorkCommand[])[new Change("user:bob", Card, null, null, A.Morning), new Delete("user:bob", null, A.Morning), new Delete("user:bob", [7], A.Morning)])
        {
            Spec.Given(Created).When(command).ThenRefused("not_found");
        }
    }

    [Fact]
    public void A_version_that_is_expected_must_be_there()
    {
        var changed = new WorkChanged(Card with { Label = "Summer" }, A.Morning);
        var state = Assert.IsType<Work.Live>(Spec.Given(Created, changed).State);
        Assert.Equal((2, "Summer", Payload), (state.Version, state.Card.Label, state.Payload));
        Spec.Given(Created, changed).When(Changed(Card, null, 2)).ThenSome();
        Spec.Given(Created, changed).When(Changed(Card, null, 1, 2)).ThenSome();
        Assert.Equal(412, Spec.Given(Created, changed).When(Changed(Card, null, 1)).ThenRefused("precondition_failed").Status);
        Assert.Equal(412, Spec.Given(Created, changed).When(new Delete(Ann, [], A.Morning)).ThenRefused("precondition_failed").Status);
    }

    [Fact]
    public void A_deleted_work_is_not_found()
    {
        Spec.Given(Created).When(new Delete(Ann, [1], A.Morning)).Then(new WorkDeleted(A.Morning));
        foreach (var command in (WorkCommand[])[new Create(Id, Ann, "listings", Card, Payload, null, A.Morning), Changed(Card), new Delete(Ann, null, A.Morning)])
        {
            Spec.Given(Created, new WorkDeleted(A.Morning)).When(command).ThenRefused("not_found");
        }
        Spec.Given().When(new Delete(Ann, null, A.Morning)).ThenRefused("not_found");
    }

    [Theory]
    [InlineData("brand_assets", "brand_assets")]
    [InlineData("brand", "brand_assets")]
    [InlineData("listings", "listings")]
    [InlineData("listing", "listings")]
    [InlineData("transactions", "transactions")]
    [InlineData("transaction", "transactions")]
    [InlineData("deal", "transactions")]
    [InlineData("deals", "transactions")]
    [InlineData("Listings", null)]
    [InlineData("", null)]
    public void A_bucket_has_aliases(string name, string? bucket) => Assert.Equal(bucket, WorkBuckets.Find(name));
}
